"""The tables of a run: what a reader needs, and CSV with every number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from camfaith.benchmark.results.files import own_folder, whole, write_whole
from camfaith.benchmark.results.intervals import FEWEST
from camfaith.benchmark.results.showing import MISSING, NONE, cautions, doubtful, legend, usual
from camfaith.benchmark.results.statistics import few_samples
from camfaith.reports.markup import Row, Table, Value, latex, markdown
from camfaith.reports.reliability import reliability_table
from camfaith.reports.skill import skill_table
from camfaith.reports.view import ALL, Block, Judged, View, file_stem, number, numbers

KINDS = {
    "constant": "Constant or zero maps (their values count; ties are drawn by lot)",
    "undefined": "Undefined, left out of the mean",
    "errors": "Errors, left out of the mean",
}


def write(view: View, folder: Path) -> list[Table]:
    """Write all tables; returns one per block, and last the one over all blocks where there are several."""
    own_folder(folder)
    frames = {"summary": view.summary, "agreement": view.agreement, "conservation_scale": view.scale}
    frames["reliability"] = view.reliability
    if view.until_separated:
        frames["separations"] = view.result.separations()
    else:
        frames |= {"comparisons": view.comparisons, "ranking": view.ranking}
    for name, frame in frames.items():
        write_csv(folder / f"{name}.csv", frame)
    tables = [block_table(view, block) for block in view.blocks]
    if over_all := overall_table(view):
        tables.append(over_all)
    for table in (*tables, *(make(view, block) for make in (skill_table, reliability_table) for block in view.blocks)):
        if table:
            write_whole(folder / f"{table.stem}.md", markdown(table))
            write_whole(folder / f"{table.stem}.tex", latex(table))
    return tables


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write the file whole. A text that a spreadsheet would take for a formula begins with an apostrophe there."""

    def safe(cell: Any) -> Any:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    texts = [str(name) for name in frame if not is_numeric_dtype(frame[name])]
    with whole(path) as draft:
        frame.assign(**{name: frame[name].map(safe) for name in texts}).to_csv(draft, index=False)


def block_table(view: View, block: Block) -> Table:
    """The main columns of one model on one data set."""
    summary = view.summary_of(block)
    sizes = {c: _size(_known(view, summary, c, "mean")) for c in view.judged}
    rows = []
    for method in view.methods:
        found = [summary.get((method, c.metric, c.column)) for c in view.judged]
        if not any(found):
            continue
        own = usual(row["n"] for row in found if row)
        shown = [_value(view, row, sizes[c], own) for row, c in zip(found, view.judged, strict=True)]
        rows.append(Row(method, method in view.controls, [Value(str(own)), *shown]))
    main = view.of(block, view.summary)
    main = main[main["main"].astype(bool)]
    notes = [*legend(main, view.info), *_counts(view, summary)]
    return Table(block.stem, block.title, ["n", *(c.head for c in view.judged)], rows, notes, cautions(main, view.info))


def _known(view: View, summary: Mapping[Any, Mapping[str, Any]], column: Judged, what: str) -> list[float]:
    found = (summary.get((method, column.metric, column.column)) for method in view.methods)
    return [row[what] for row in found if row and math.isfinite(row[what])]


def _size(means: Sequence[float]) -> float:
    """The size of a column's numbers; it sets their decimals."""
    return median(abs(mean) for mean in means) if means else math.nan


def _value(view: View, row: Mapping[str, Any] | None, size: float, own: int) -> Value:
    """A mean with its interval, and its n where that is not its row's `own`."""
    if row is None or not row["n"]:
        return Value(NONE)
    mean, low, high = numbers(row["mean"], row["low"], row["high"], like=size)
    interval = f"[{low}, {high}]" if math.isfinite(row["low"]) else MISSING
    count = f" ({row['n']})" if row["n"] != own else ""
    return Value(mean, interval + count, bool(row["best"]), doubtful(row, view.info))


def _counts(view: View, summary: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """A line for each kind of sample without a plain value (`KINDS`); methods with equal counts stand together."""
    lines = []
    for kind, said in KINDS.items():
        groups: dict[tuple[int, tuple[str, ...]], list[str]] = {}
        for method in view.methods:
            found = [(summary.get((method, c.metric, c.column), {}).get(kind, 0), c.title) for c in view.judged]
            for count in sorted({count for count, _ in found if count}):
                groups.setdefault((count, tuple(title for n, title in found if n == count)), []).append(method)
        told = []
        for (count, where), methods in groups.items():
            left = [m for m in view.methods if m not in methods]
            who = ", ".join(methods)
            if len(methods) > max(1, 2 * len(left)):
                who = f"all methods{' but ' if left else ''}{', '.join(left)}"
            told.append(f"{who}: {count} in {'every column' if len(where) == len(view.judged) else ', '.join(where)}")
        if told:
            lines.append(f"{said}: {'; '.join(told)}.")
    return lines


def overall_table(view: View) -> Table | None:
    """Where there are several models or data sets: ranks of their means, each of them as one unit."""
    ranking = view.of(ALL, view.ranking)
    ranking = ranking[ranking["mean_rank"].notna()]
    if ranking.empty:
        return None
    known = {(r["method"], r["metric"], r["column"]): r for r in ranking.to_dict("records")}
    best = set() if view.until_separated else _ahead(view.of(ALL, view.comparisons))
    rows = []
    for method in (m for m in view.methods if m not in view.controls):
        found = [known.get((method, c.metric, c.column)) for c in view.ranked]
        own = usual(row["n"] for row in found if row)
        shown = [Value(str(own))]
        for row, c in zip(found, view.ranked, strict=True):
            apart = f"({row['n']})" if row and row["n"] != own else ""
            shown.append(Value(f"{row['mean_rank']:.1f}", apart, (method, c.metric) in best) if row else Value(NONE))
        if own:
            rows.append(Row(method, False, shown))
    count = len(view.blocks)
    notes = [
        "The method's mean on each model and data set is ranked (1 = best); shown is the mean over the n of them where "
        "all methods have one. Controls are not ranked. Ranks say nothing of how far apart methods are, nor whether "
        "they beat the controls."
    ]
    if best:
        notes.append(
            "Bold: not shown to be worse than any other method over models and data sets, in columns where some is "
            "(sign-flip test, each model on each data set as one unit, Holm)."
        )
    elif view.until_separated:
        notes.append("Nothing is shown over models and data sets: their means are over different images.")
    elif count < FEWEST:
        notes.append(
            f"Models and data sets are the units of a general claim; {count} are too few: nothing is claimed from "
            f"fewer than {FEWEST}."
        )
    else:
        notes.append("No method is shown to be better than another over models and data sets.")
    title = f"Mean ranks over {count} models on data sets"
    return Table(file_stem("over-all"), title, ["n", *(c.title for c in view.ranked)], rows, notes)


def _ahead(comparisons: pd.DataFrame) -> set[tuple[str, str]]:
    """Method and metric of those that are not shown to be worse over blocks, where some method is."""
    found = set()
    for metric, rows in comparisons[comparisons["p"].notna()].groupby("metric", sort=False):
        behind = {*rows.loc[rows["ahead"] == "first", "second"], *rows.loc[rows["ahead"] == "second", "first"]}
        if behind:
            found |= {(method, str(metric)) for method in {*rows["first"], *rows["second"]} - behind}
    return found


def ledger(view: View, block: Block, metric: str) -> Table | None:
    """How the maps' sums compare with the logits: residuals, the best scale, and what each display step adds."""
    scale = {row["method"]: row for row in view.of(block, view.scale).to_dict("records") if row["metric"] == metric}
    columns = ("residual", "residual_corrected", "sensitivity", "relu", "upsampling", "normalisation")
    made = every_column(view, block, metric, columns)
    if made is None:
        return None
    rows = []
    for row in made.rows:
        fit = [Value(number(scale.get(row.method, {}).get(name, math.nan))) for name in ("beta", "residual")]
        rows.append(Row(row.method, row.control, [*row.values[:4], *fit, *row.values[4:]]))
    heads = ["n", "residual", "corrected", "sensitivity", "β", "residual after β"]
    heads += [f"{name} adds" for name in columns[3:]]
    notes = [*made.notes, "β is fitted to these images; what it leaves of them says nothing of others."]
    return Table(made.stem, made.title, heads, rows, notes)


def every_column(view: View, block: Block, metric: str, columns: Sequence[str] | None = None) -> Table | None:
    """All columns of one metric, or some, with mean, interval and n."""
    summary = view.summary_of(block)
    heads = list(columns or dict.fromkeys(column for _, m, column in summary if m == metric))
    sizes = {c: _size(_known(view, summary, Judged(metric, c, None), "mean")) for c in heads}
    rows, used = [], []
    for method in view.methods:
        found = [summary.get((method, metric, column)) for column in heads]
        own = usual(row["n"] for row in found if row)
        if not own:
            continue
        used += [row for row in found if row]
        shown = [_value(view, row, sizes[c], own) for row, c in zip(found, heads, strict=True)]
        values = [Value(value.mean, value.interval) for value in shown]
        rows.append(Row(method, method in view.controls, [Value(str(own)), *values]))
    notes = few_samples(pd.DataFrame(used)) if used else []
    return Table(file_stem(metric, *block), f"{metric}: {block.title}", ["n", *heads], rows, notes) if rows else None
