"""A column that only describes is shown like any other, and nothing is claimed of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from camfaith.benchmark.results.store import Result
from camfaith.reports import report, tables
from camfaith.reports.gallery import choose, judge_of
from camfaith.reports.skill import skill_table
from camfaith.reports.view import Judged, View

Fabricate = Callable[..., Result]
DESCRIBES = "A column without an arrow describes: no value of it is better, and nothing is claimed of it."
CLAIMS = ("Bold", "°", "No method is shown")


@pytest.fixture
def alone(fabricate: Fabricate) -> View:
    return View(fabricate(models=["net"], metrics=["sparseness"]))


def test_its_table_has_means_and_no_arrow_bold_or_doubt_and_says_why(alone: View) -> None:
    made = tables.block_table(alone, alone.blocks[0])
    assert made.heads == ["n", "sparseness gini"]
    assert all(
        value.interval and not value.best and not value.doubtful for row in made.rows for value in row.values[1:]
    )
    assert DESCRIBES in made.notes
    assert not any(claim in note for note in made.notes for claim in CLAIMS)
    assert DESCRIBES in alone.result._repr_html_()


def test_beside_a_column_that_judges_only_that_one_is_claimed_of(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], metrics=["sparseness", "deletion"]))
    made = tables.block_table(view, view.blocks[0])
    assert made.heads == ["n", "sparseness gini", "deletion auc ↓"]
    assert DESCRIBES in made.notes
    assert any(note.startswith(CLAIMS) for note in made.notes)
    assert [(value.best, value.doubtful) for row in made.rows for value in row.values[1:2]] == [(False, False)] * 6
    summary = view.summary.set_index(["metric", "column"]).loc[("sparseness", "gini")]
    claimed = ["difference", "skill", "p", "above_random", "rank"]
    assert summary[claimed].isna().all(axis=None)
    for table in (view.comparisons, view.ranking):
        assert set(table["metric"]) == {"deletion"}
    assert view.agreement.empty
    assert "sparseness gini" not in skill_table(view, view.blocks[0]).heads


def test_the_corrections_for_several_metrics_do_not_count_it(fabricate: Fabricate) -> None:
    def same(found: dict[str, pd.DataFrame]) -> None:
        rows = found["scores"]["metric"] == "deletion"
        found["scores"].loc[rows, "value"] = [(7 * i % 11) / 11 + 0.02 * (i // 8) for i in range(rows.sum())]

    def claimed(metrics: list[str]) -> pd.DataFrame:
        found = fabricate(models=["net"], metrics=metrics, change=same).summary().set_index(["metric", "method"])
        return found[found["main"]].loc["deletion", ["p", "rank"]]

    pd.testing.assert_frame_equal(claimed(["deletion", "sparseness"]), claimed(["deletion"]))


def test_where_nothing_judges_it_chooses_the_gallery_from_its_highest_to_its_lowest(alone: View) -> None:
    column = judge_of(alone)
    assert column == Judged("sparseness", "gini", None)
    scores = [exhibit.score for exhibit in choose(alone, alone.blocks[0], column)]
    assert scores == sorted(scores, reverse=True)
    folder: Path = report(alone.result).parent
    assert [path.name for path in (folder / "gallery").iterdir()] == ["net--fundus.png"]
    assert "The highest and the lowest images by sparseness gini" in (folder / "report.html").read_text()
