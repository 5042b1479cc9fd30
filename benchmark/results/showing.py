"""A run's summary as a notebook shows it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from html import escape
from typing import Any

import pandas as pd

from camfaith.benchmark.results.statistics import few_samples, shown_better

ARROWS = {"higher": "↑", "lower": "↓"}
"""Which way a column is better."""


def html_of(summary: pd.DataFrame, title: str) -> str:
    """The main columns of a summary: a table for each model on each data set, a row a method, means with intervals."""
    parts = [f"<p><b>{escape(title)}</b></p>"]
    for (model, dataset), block in summary[summary["main"].astype(bool)].groupby(["model", "dataset"], sort=False):
        cells = block.assign(
            shown=[_cell(row) for row in block.to_dict("records")],
            head=[f"{m} {c} {ARROWS.get(b, '')}" for m, c, b in block[["metric", "column", "better"]].to_numpy()],
        )
        wide = cells.pivot_table(index="method", columns="head", values="shown", aggfunc="first", sort=False)
        wide = wide.rename_axis(index=None, columns=None).fillna("–")
        parts += [f"<p>{escape(f'{model} on {dataset}')}</p>", wide.to_html(escape=True)]
    parts.append("<p>Mean [95 % interval]; ° not shown to be better than the random control.</p>")
    if few := few_samples(summary):
        parts.append(f"<p>{escape(few)}</p>")
    return "\n".join(parts)


def _cell(row: Mapping[Hashable, Any]) -> str:
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    if mean != mean:
        return "–"
    mark = "" if row["p"] != row["p"] or shown_better(row) else "°"
    return f"{mean:.3f}{mark}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")
