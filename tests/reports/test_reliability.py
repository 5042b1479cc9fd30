"""The card stands beside the table; a metric that cannot tell random maps from the methods is named at its head."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from camfaith.benchmark.cli.terminal import show_result
from camfaith.benchmark.results.store import Result
from camfaith.reports import page
from camfaith.reports.markup import latex, markdown
from camfaith.reports.reliability import reliability_table, to_mind
from camfaith.reports.tables import block_table
from camfaith.reports.view import View

BLIND = "By deletion auc random maps cannot be told from the methods on these images"
METHODS = ("gradcam", "xgradcam", "hirescam", "random", "random-pixels", "oracle")


def level(means: dict[str, float], spread: float) -> Callable[[dict[str, pd.DataFrame]], None]:
    """Gives each method's deletion these values on all images, and its curve of a height of its own."""

    def change(found: dict[str, pd.DataFrame]) -> None:
        scores, noise = found["scores"], np.random.default_rng(0)
        for method, mean in means.items():
            rows = (scores["method"] == method) & (scores["column"] == "auc")
            scores.loc[rows, "value"] = mean + spread * noise.normal(size=rows.sum())
            curves = found["lines"]["method"] == method
            found["lines"].loc[curves, "y"] = found["lines"].loc[curves, "x"].map(lambda x, mean=mean: mean + 0 * x)
        found["scores"] = scores

    return change


@pytest.fixture
def told(fabricate: Callable[..., Result]) -> Callable[..., Result]:
    controls = {"methods": [{"label": m, "name": m, "key": m, "control": m in METHODS[3:]} for m in METHODS]}

    def make(means: tuple[float, ...], spread: float) -> Result:
        change = level(dict(zip(METHODS, means, strict=True)), spread)
        options = {"models": ["net"], "methods": METHODS, "metrics": ["deletion"], "samples": 12, "info": controls}
        return fabricate(change=change, **options)

    return make


def page_of(result: Result, path: Path) -> str:
    """The page without figures, from the first table on."""
    view = View(result)
    found = [block_table(view, block) for block in view.blocks]
    text = page.write(view, path, found, (), ()).read_text("utf-8")
    return text[text.index('id="summary"') :]


def test_a_metric_that_cannot_tell_random_maps_is_named_wherever_its_table_begins(
    told: Callable[..., Result], tmp_path: Path
) -> None:
    result, printed = told((0.5,) * 6, 0.1), io.StringIO()
    show_result(result, Console(file=printed, width=300))
    made = block_table(View(result), View(result).blocks[0])
    for text, begin in [
        (markdown(made), "| method |"),
        (latex(made), r"\begin{tabular}"),
        (page_of(result, tmp_path / "page.html"), "<table"),
        (printed.getvalue(), "gradcam"),
        (result._repr_html_(), "<table"),
    ]:
        assert 0 <= text.find(BLIND) < text.index(begin)


def test_the_card_is_a_row_of_the_metric_with_what_to_mind_of_it(told: Callable[..., Result]) -> None:
    result = told((0.1, 0.2, 0.9, 0.5, 0.3, 0.05), 0.0)
    view = View(result)
    card = reliability_table(view, view.blocks[0])
    assert card is not None
    (row,) = card.rows
    assert row.method == "deletion auc"
    assert dict(zip(card.heads, [value.text for value in row.values], strict=True)) == {
        **{"n": "12", "α": "1.00", "halves ρ": "1.00", "random": "67 % (33 % worse)"},
        **{"random-pixels": "67 % (33 % worse)", "oracle": "100 %", "grain": "pixels", "steps τ": "1.00"},
        **{"equal": "0 %", "constant maps": "0 %", "undefined": "0 %", "ties": row.values[-1].text},
    }
    said = "deletion auc: grain decides, random pixels are better than random cells: compare maps of one grain."
    assert card.notes[0] == said
    assert BLIND not in markdown(card)


def test_what_to_mind_of_a_poor_metric_is_said(told: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    result = told((0.5, 0.5, 0.5, 0.5, 0.3, 0.5), 0.0)
    view = View(result)
    poor = {"alpha": 0.2, "split_half": 0.1, "steps": 0.3, "baselines": 0.4, "degenerate": 0.06, "undefined": 0.07}
    poor |= {"features": "cells"}
    view.__dict__["reliability"] = view.reliability.assign(**poor)
    card = reliability_table(view, view.blocks[0])
    assert card is not None
    said = [
        "single images disagree about the order of the methods (α 0.20)",
        "halves of the images put the methods in other orders (ρ 0.10)",
        "no method is shown to be better than random-pixels (100 % are worse)",
        "the oracle is not shown to be better than every control",
        "grain decides, random pixels are better than random cells: compare maps of one grain",
        "whole cells are taken out, and what a map shows within one is not judged",
        "another baseline gives another order (τ 0.40)",
        "half of the steps give another order (τ 0.30)",
        "two methods mostly have the same value on an image (100 %)",
        "6 % of the maps are constant or zero",
        "7 % of the maps have no value",
    ]
    assert card.notes[0] == f"deletion auc: {'; '.join(said)}."
    view.__dict__["reliability"] = pd.concat([view.reliability, view.reliability.assign(metric="irof", alpha=0.9)])
    firmer = [f"deletion auc: {said[0]}.", f"deletion auc, irof auc: {'; '.join(said[1:])}."]
    assert to_mind(view, view.blocks[0]) == firmer


def test_a_run_without_a_metric_that_has_a_direction_has_no_card(
    fabricate: Callable[..., Result], tmp_path: Path
) -> None:
    result = fabricate(models=["net"], metrics=["sparseness"])
    assert result.reliability().empty
    assert "Reliability" not in page_of(result, tmp_path / "page.html")
