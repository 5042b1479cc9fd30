"""Tables hold the run's numbers, mark the best, set controls apart and keep silent about nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.showing import usual
from camfaith.benchmark.results.store import Result
from camfaith.reports import tables
from camfaith.reports.markup import Row, Table, Value, latex, markdown
from camfaith.reports.skill import skill_table
from camfaith.reports.view import View, file_stem, number, numbers, shortened

Fabricate = Callable[..., Result]
VALUES = {"gradcam": 0.25, "xgradcam": 0.125, "random": 0.5}


def deletion_of(values: dict[str, float]) -> Callable[[dict[str, pd.DataFrame]], None]:
    """Gives every image of a method the same deletion auc, give or take a little."""

    def change(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        for method, value in values.items():
            rows = (scores["method"] == method) & (scores["column"] == "auc")
            scores.loc[rows, "value"] = value + np.resize([-0.01, 0.01], rows.sum())

    return change


@pytest.fixture
def table(fabricate: Fabricate) -> Table:
    result = fabricate(models=["net"], methods=list(VALUES), metrics=["deletion"], change=deletion_of(VALUES))
    return tables.block_table(View(result), View(result).blocks[0])


def test_a_row_shows_mean_and_interval_and_the_lowest_deletion_is_best(table: Table) -> None:
    assert table.heads == ["n", "deletion auc ↓"]
    assert [row.method for row in table.rows] == ["gradcam", "xgradcam", "random"]
    assert [row.values[1].mean for row in table.rows] == ["0.250", "0.125", "0.500"]
    assert [row.values[1].best for row in table.rows] == [False, True, False]
    assert re.fullmatch(r"\[0\.11\d, 0\.13\d\]", table.rows[1].values[1].interval)
    assert [row.values[0].text for row in table.rows] == ["8"] * 3


@pytest.mark.parametrize(
    ("metric", "values", "best", "doubtful"),
    [
        ("insertion ↑", VALUES, [True, False, False], [True, True, False]),  # even where a control is higher
        ("deletion ↓", {"gradcam": 0.2, "xgradcam": 0.5, "random": 0.5}, [True, False, False], [False, True, False]),
    ],
)
def test_the_best_is_marked_and_so_is_what_is_no_better_than_random(
    fabricate: Fabricate, metric: str, values: dict[str, float], best: list[bool], doubtful: list[bool]
) -> None:
    name, arrow = metric.split()
    result = fabricate(models=["net"], methods=list(values), metrics=[name], change=deletion_of(values))
    made = tables.block_table(View(result), View(result).blocks[0])
    assert made.heads[1] == f"{name} auc {arrow}"
    assert [row.values[1].best for row in made.rows] == best
    assert [row.values[1].doubtful for row in made.rows] == doubtful
    assert "°: not shown to be better than the random control" in made.notes[1]


def test_few_images_have_no_interval_no_best_and_are_not_shown_to_be_better_and_every_table_says_so(
    fabricate: Fabricate,
) -> None:
    result = fabricate(models=["net"], methods=list(VALUES), metrics=["deletion"], samples=7)
    view = View(result)
    made = tables.block_table(view, view.blocks[0])
    values = [row.values[1] for row in made.rows]
    assert [(value.interval, value.best, value.doubtful) for value in values] == [
        ("[–]", False, control != "random") for control in VALUES
    ]
    for written in (markdown(made), latex(made), result._repr_html_()):
        assert "n too small" in written
        assert "No method is shown to be better than another." in written


def test_a_mean_over_other_images_than_its_row_has_its_own_n(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], samples=16, metrics=["deletion", "insertion", "energy-pointing-game"]))
    made = tables.block_table(view, view.blocks[0])
    assert made.rows[0].values[0].text == "16"
    assert [value.interval.endswith("] (12)") for value in made.rows[0].values[1:]] == [False, False, True]
    assert [usual(counts) for counts in ([25, 0, 32, 25], [25, 32], [0], [])] == [25, 32, 0, 0]
    assert any("cover about 90 % at n = 8" in note for note in made.notes)
    assert re.search(r"<td>16</td>\s*<td>.*] \(12\)", view.result._repr_html_(), re.S)


def test_a_label_is_no_formula_in_a_csv_file_and_numbers_stay_numbers(fabricate: Fabricate, tmp_path: Path) -> None:
    names = ["=1+1", "@x", "-y", "\tz", "a=b"]
    tables.write(View(fabricate(models=["net"], methods=names, metrics=["deletion"])), tmp_path)
    found = pd.read_csv(tmp_path / "summary.csv")
    assert list(found["method"].unique()) == ["'=1+1", "'@x", "'-y", "'\tz", "a=b"]
    assert found["mean"].dtype == float


def test_a_result_gives_one_metric_as_a_table_of_samples_by_methods_that_mixes_no_columns(fabricate: Fabricate) -> None:
    result = fabricate(models=["net", "other"], methods=list(VALUES), metrics=["deletion", "insertion"])
    found, rows = result.table("deletion"), result.scores
    assert list(found.columns) == list(VALUES)
    assert found.index.names == ["model", "dataset", "sample"]
    assert (
        found["gradcam"].tolist()
        == rows.query("method == 'gradcam' and metric == 'deletion' and main")["value"].tolist()
    )
    assert set(rows.loc[rows["main"], "column"]) == {"auc"}
    ties = rows.query("method == 'random' and metric == 'deletion' and column == 'ties'")["value"]
    assert result.table("deletion", "ties")["random"].tolist() == ties.tolist()
    with pytest.raises(ValueError, match="no column 'tie'; it has auc"):
        result.table("deletion", "tie")


def test_a_result_in_a_notebook_is_its_summary(fabricate: Fabricate) -> None:
    shown = fabricate(models=["<b>"], methods=list(VALUES), samples=7, metrics=["deletion"], change=deletion_of(VALUES))
    text = shown._repr_html_()
    assert re.search(r"<th>xgradcam</th>\s*<td>7</td>\s*<td>0\.1\d\d° \[–\]</td>", text)
    assert "deletion auc ↓" in text
    assert "&lt;b&gt; on fundus" in text


def test_markdown_has_the_numbers_and_the_best_in_bold(table: Table) -> None:
    lines = markdown(table).splitlines()
    assert lines[2] == "| method | n | deletion auc ↓ |"
    best = next(line for line in lines if line.startswith("| xgradcam"))
    assert best.startswith(r"| xgradcam | 8 | **0.125 \[")
    assert "**" not in next(line for line in lines if line.startswith("| gradcam"))
    assert any(line.startswith("| *random* | 8 | 0.500") for line in lines)


def test_latex_has_the_numbers_the_rules_and_the_best_in_bold(table: Table) -> None:
    text = latex(table)
    assert re.search(r"^xgradcam & 8 & \\textbf\{0\.125 \[0\.11\d, 0\.13\d\]\} \\\\$", text, re.M)
    assert re.search(r"^\\midrule\n\\textit\{random\} & 8 & 0\.500", text, re.M)
    for rule in (r"\toprule", r"\bottomrule", r"\caption{net on fundus.}", r"\label{tab:net--fundus}", r"$\downarrow$"):
        assert text.count(rule) == 1 + (rule == r"$\downarrow$")  # once in the notes


HOSTILE = r"a_b%c\d&e#f$g{h}i~j^k|l*m<n>"


def hostile_table() -> Table:
    rows = [Row(HOSTILE, False, [Value("1", "[0, 2]", best=True)]), Row("[mine]", False, [Value("1")])]
    return Table("stem", HOSTILE, [HOSTILE], [*rows, Row("random", True, [Value("0")])], [HOSTILE], [HOSTILE])


def test_latex_escapes_names_and_balances_its_environments_and_braces() -> None:
    text = latex(hostile_table())
    escaped = r"a\_b\%c\textbackslash{}d\&e\#f\$g\{h\}i\textasciitilde{}j\textasciicircum{}k\textbar{}"
    escaped += r"l*m\textless{}n\textgreater{}"
    assert text.count(escaped) == 5
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    assert opened == ["table", "tabular", "minipage"]
    assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    bare = re.sub(r"\\[{}%]", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {1}
    starts = [line.strip()[:8] for line in rows]
    assert "{}[mine]" in starts, "else an argument of the line break before it"


def test_markdown_escapes_what_would_break_a_table_or_become_html() -> None:
    for line in markdown(hostile_table()).splitlines():
        assert not re.search(r"(?<!\\)[<>]", line)
        if line.startswith("|") and not line.startswith("| :"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3


def test_counts_of_constant_undefined_and_failed_samples_are_in_the_notes(fabricate: Fabricate) -> None:
    def spoil(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        rows = scores.index[(scores["method"] == "gradcam") & (scores["column"] == "auc")]
        scores.loc[rows[0], ["value", "status", "error"]] = [np.nan, "error", "boom"]
        scores.loc[rows[1:3], ["value", "status"]] = [np.nan, "undefined"]
        scores.loc[rows[3:6], "status"] = "constant"

    result = fabricate(models=["net"], methods=["gradcam", "random"], metrics=["deletion"], change=spoil)
    made = tables.block_table(View(result), View(result).blocks[0])
    assert made.rows[0].values[0].text == "5"
    told = "\n".join(made.notes)
    assert re.search(r"^Constant.*: gradcam: 3 in every column\.$", told, re.M)
    assert re.search(r"^Undefined.*: gradcam: 2 in every column\.$", told, re.M)
    assert re.search(r"^Errors.*: gradcam: 1 in every column\.$", told, re.M)
    for text in (markdown(made), latex(made)):
        assert "gradcam: 2 in every column" in text


def test_the_csv_has_every_number_of_the_summary(plain_run: Result, plain_report: Path) -> None:
    read = pd.read_csv(plain_report / "tables" / "summary.csv")
    summary = plain_run.summary()
    assert len(read) == len(summary)
    for column in ("mean", "low", "high", "rank", "difference"):
        np.testing.assert_allclose(read[column], summary[column])


def test_each_block_and_the_whole_have_markdown_and_latex(plain_report: Path) -> None:
    names = {path.name for path in (plain_report / "tables").iterdir()}
    stems = {f"{kind}{model}--fundus" for kind in ("", "skill--", "reliability--") for model in ("resnet", "vgg")}
    stems |= {"over-all"}
    frames = ("summary", "ranking", "comparisons", "agreement", "conservation_scale", "reliability")
    assert names == {f"{s}.{kind}" for s in stems for kind in ("md", "tex")} | {f"{name}.csv" for name in frames}


@pytest.mark.parametrize(("models", "said"), [(2, "2 are too few"), (9, "Bold: not shown to be worse")])
def test_the_table_over_all_takes_each_block_as_one_and_claims_nothing_from_a_few(
    fabricate: Fabricate, models: int, said: str
) -> None:
    close = {"gradcam": 0.1, "xgradcam": 0.1, "hirescam": 0.9}
    names = [f"net{i}" for i in range(models)]
    options = {"methods": [*close, "random"], "metrics": ["deletion"], "without": ("lines", "maps", "pictures")}
    view = View(fabricate(models=names, change=deletion_of(close), **options))
    made = tables.overall_table(view)
    assert made is not None
    assert [row.method for row in made.rows] == list(close)
    assert [[value.mean for value in row.values] for row in made.rows] == [
        [str(models), rank] for rank in ("1.5", "1.5", "3.0")
    ]
    assert [row.values[1].best for row in made.rows] == ([True, True, False] if models > 2 else [False] * 3)
    assert any(said in note for note in made.notes)


def test_skill_is_between_random_and_the_best_known_map_which_is_named(plain_run: Result) -> None:
    view = View(plain_run)
    made = skill_table(view, view.blocks[0])
    assert made is not None
    assert "random" not in [row.method for row in made.rows]
    for place, head in enumerate(made.heads[1:], 1):
        best = [row.method for row in made.rows if row.values[place].text.startswith("1 best known")]
        assert f"{head}: {best[0]}" in made.notes[1]
    row, summary = made.rows[1], view.summary_of(view.blocks[0])
    wanted = summary[row.method, "insertion", "auc"]["skill"]
    assert row.values[made.heads.index("insertion auc")].mean in (f"{wanted:.2f}", "1")


def test_the_ledger_has_the_scale_and_what_it_leaves(plain_run: Result) -> None:
    view = View(plain_run)
    made = tables.ledger(view, view.blocks[0], "conservation")
    assert made is not None
    scale: Any = view.scale.iloc[0]
    values = dict(zip(made.heads, made.rows[0].values, strict=True))
    assert values["β"].mean == number(scale["beta"])
    assert values["residual after β"].mean == number(scale["residual"])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.12345, 0.1, 0.2), ["0.123", "0.100", "0.200"]),
        ((1.23456, 0.5, 12.0), ["1.2", "0.5", "12.0"]),
        ((1234.5,), ["1234"]),
        ((123456.0,), ["1.23e5"]),
        ((2.5e-7,), ["2.50e-7"]),
        ((-0.0001, 0.5), ["0.000", "0.500"]),
        ((float("nan"),), ["–"]),
        ((0.0,), ["0.000"]),
    ],
)
def test_numbers_that_stand_together_have_one_notation(values: tuple[float, ...], shown: list[str]) -> None:
    assert numbers(*values) == shown


def test_file_names_are_safe_and_different_for_different_names() -> None:
    names = [
        "path/to/file.py:fn",
        "path/to/file.py;fn",
        "../../etc/passwd",
        "A",
        "a",
        "..",
        "",
        "é",
        "x" * 300,
        "con\n",
    ]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,70}", stem) for stem in stems)
    assert file_stem("resnet", "fundus") == "resnet--fundus"


def test_shortened_text_keeps_both_ends() -> None:
    assert shortened("scorecam(layer=features.3)", 15) == "scoreca…ures.3)"
    assert shortened("gradcam", 7) == "gradcam"
