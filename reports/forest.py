"""Claims as a figure: each row's difference with its interval, and the range where the claim says that it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from camfaith.benchmark.results.checked import Checked
from camfaith.reports.decision import clean
from camfaith.reports.style import folded, labels, panels

COLOURS: Mapping[str, str] = {"supported": "#009e73", "contradicted": "#d55e00", "undecided": "0.45"}
_AXIS = {"explains": "share explained", "predicts": "difference of AUROC"}


def forests(checked: Checked) -> Iterator[Figure]:
    """A panel for each claim of which anything was measured, as many on a sheet as a page takes."""
    groups: Any = checked.rows[np.isfinite(checked.rows["difference"].astype(float))].groupby("claim", sort=False)
    shown = [(number, rows) for number, rows in groups]
    tallest = max((len(rows) for _, rows in shown), default=0)
    several = len({dataset for _, rows in shown for dataset in rows["dataset"]}) > 1
    for drawn, axes, own in panels(shown, 2, 0.85 + 0.17 * tallest, shared=False):
        for axis, (number, rows) in zip(axes, own, strict=True):
            names = [clean(f"{row.model} on {row.dataset}" if several else row.model) for row in rows.itertuples()]
            short = labels(names, 30)
            _panel(axis, rows, [short[name] for name in names])
            axis.set_title(folded(clean(f"{number}. {rows['sentence'].iloc[0]}"), 46), loc="left")
        yield drawn


def _panel(axis: Any, rows: pd.DataFrame, names: Sequence[str]) -> None:
    says, margin = rows["says"].iloc[0], float(rows["margin"].iloc[0])
    for place, row in enumerate(rows.to_dict("records")):
        colour = COLOURS[row["verdict"]]
        if np.isfinite([row["low"], row["high"]]).all():
            axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.4, solid_capstyle="butt")
        axis.plot(row["difference"], place, "o", color=colour, ms=3.5)
    axis.axvline(0, color="0.35", lw=0.6)
    low, high = said(says, margin)
    for edge in (low, high):
        if np.isfinite(edge) and edge:
            axis.axvline(edge, color="#0072b2", lw=0.6, ls=(0, (3, 2)))
    left, right = axis.get_xlim()
    axis.axvspan(max(low, left), min(high, right), color="#0072b2", alpha=0.1, lw=0)
    axis.set_xlim(left, right)
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_xlabel(_AXIS.get(says, "measured − compared"))


def said(says: str, margin: float) -> tuple[float, float]:
    """The range in which a claim says that the difference lies."""
    ranges = {"less": (-np.inf, -margin), "equal": (-margin, margin), "not greater": (-np.inf, margin)}
    return ranges.get(says, (-margin if says == "not less" else margin, np.inf))
