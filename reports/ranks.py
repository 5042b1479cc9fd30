"""How methods are ordered: ranks that are shown, differences that are not, and how firm the places are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from camfaith.reports.style import WIDTH, Look, figure, folded, label, labels, panels
from camfaith.reports.view import Block, Judged, View

_TOLD = 12
"""Up to so many methods a heat map has room for numbers."""
_SIDE_BY_SIDE = 22
"""Up to so many columns have room beside each other for their names."""


def rank_maps(view: View) -> Iterator[Figure]:
    """For each block 1 + the number of methods that are shown to be better, methods × metrics, as many as a sheet takes
    beside each other."""
    ranked = set(view.summary.loc[view.summary["rank"].notna(), "method"])
    methods = [m for m in view.methods if m in ranked]
    if methods:
        for own in np.array_split(np.arange(len(view.ranked)), math.ceil(len(view.ranked) / _SIDE_BY_SIDE)):
            yield _rank_map(view, methods, [view.ranked[place] for place in own])


def _rank_map(view: View, methods: Sequence[str], ranked: Sequence[Judged]) -> Figure:
    made = [(block.title, _block_ranks(view, block, methods, ranked)) for block in view.blocks]
    most = max(1, _SIDE_BY_SIDE // len(ranked))
    deep = math.ceil(len(made) / most)
    columns = math.ceil(len(made) / deep)
    named, metrics = labels(methods, 26), labels([c.metric for c in ranked], 24)
    titles = [f"{metrics[c.metric]}\n{label(c.column, 24)}" for c in ranked]
    longest = max(len(line) for title in titles for line in title.split("\n"))
    width = min(WIDTH, 1.7 + columns * len(titles) * 0.36)
    result = figure(width, deep * (0.3 + 0.16 * len(methods)) + 0.06 * longest + 0.1)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (title, ranks) in zip(axes, made, strict=False):
        text = np.vectorize(lambda r: "" if np.isnan(r) else f"{r:.0f}")(ranks)
        sns.heatmap(
            ranks, annot=text, fmt="", cmap="viridis_r", vmin=1, vmax=max(2, len(methods)), cbar=False,
            linewidths=0.6, annot_kws={"size": 6}, xticklabels=titles, yticklabels=[*named.values()],
            ax=axis,
        )  # fmt: skip
        axis.set_facecolor("0.93")
        axis.set_title(folded(title, max(16, round(6 * len(titles)))), loc="left")
        axis.tick_params(length=0)
        axis.tick_params(axis="x", rotation=90)
        axis.tick_params(axis="y", rotation=0)
    for axis in axes[len(made) :]:
        axis.set_axis_off()
    for above in axes[max(0, len(made) - columns) : (deep - 1) * columns]:
        above.tick_params(labelbottom=True)
    return result


def _block_ranks(view: View, block: Block, methods: Sequence[str], ranked: Sequence[Judged]) -> Any:
    known = view.summary_of(block)
    return np.array([[known.get((m, *c[:2]), {}).get("rank", np.nan) for c in ranked] for m in methods])


Ordered = tuple[Judged, pd.DataFrame]


def _ordered(view: View, block: Block, by: str) -> list[Ordered]:
    """For each column that was ranked over enough images, its rows of the ranking, the first first."""
    found = []
    own = view.of(block, view.ranking)
    own = own[own["place_1"].notna()] if "place_1" in own and not view.until_separated else own.iloc[:0]
    for column in view.ranked:
        rows = own[(own["metric"] == column.metric) & (own["column"] == column.column)]
        if len(rows) > 1:
            found.append((column, rows.sort_values(by, kind="stable")))
    return found


def critical_difference(view: View, block: Block, look: dict[str, Look]) -> Iterator[Figure]:
    """A panel for every column: methods at their mean rank; dots on one bar are not shown to differ."""
    made = _ordered(view, block, "mean_rank")
    pairs = view.of(block, view.comparisons)
    most = max((len(rows) for _, rows in made), default=0)
    for drawn, axes, own in panels(made, 2, 0.75 + 0.135 * most, shared=False):
        for axis, (column, rows) in zip(axes, own, strict=True):
            methods = [*rows["method"]]
            _ranks(axis, rows, look)
            _bars(axis, together(methods, _apart(pairs, column, methods)), len(methods))
            axis.set_title(f"{folded(column.head, 44)}\n{_friedman(rows.iloc[0].to_dict())}", loc="left")
            axis.set_yticks(range(len(methods)), [*labels(methods, 26).values()])
            axis.set_ylim(most - 0.4, -0.6)
            axis.tick_params(axis="y", length=0)
        yield drawn


def _ranks(axis: Any, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    for place, (method, rank) in enumerate(rows[["method", "mean_rank"]].itertuples(index=False, name=None)):
        axis.plot([0, rank], [place, place], color="0.85", lw=0.6, zorder=0.5)
        axis.plot(rank, place, marker="o", color=look[method].colour, ms=4)
    axis.set_xticks(_some(len(rows)))
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_bounds(1, len(rows))


def _some(count: int) -> list[int]:
    """Places that have room at an axis."""
    step = 1 if count <= _TOLD else 5 * math.ceil(count / 50)
    return [place for place in range(1, count + 1) if place == 1 or place % step == 0]


def _bars(axis: Any, groups: Sequence[Sequence[int]], count: int) -> None:
    """Beside the ranks, a bar for each group with a dot on each of its methods."""
    share = min(0.55, 0.06 + 0.03 * len(groups))
    end = 1 + (count - 1 + 0.4) / (1 - share)
    for place, x in enumerate(np.linspace(count + 0.05 * count, end, len(groups) + 1)[:-1]):
        group = groups[place]
        axis.plot([x, x], [group[0], group[-1]], color="0.55", lw=0.8, solid_capstyle="butt")
        axis.plot([x] * len(group), group, "o", color="0.15", ms=2.4 if len(groups) <= _TOLD else 1.6)
    axis.set_xlim(0.6, end)
    axis.set_xlabel("mean rank" + 5 * " " + "dots on one bar: not shown to differ", loc="right")


def _apart(pairs: pd.DataFrame, column: Judged, methods: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the methods are shown to differ."""
    places = {method: place for place, method in enumerate(methods)}
    found = np.zeros((len(methods), len(methods)), np.bool_)
    shown = pairs[(pairs["metric"] == column.metric) & (pairs["ahead"] != "")]
    for first, second in shown[["first", "second"]].itertuples(index=False, name=None):
        if first in places and second in places:
            found[places[first], places[second]] = found[places[second], places[first]] = True
    return found


def together(methods: Sequence[str], apart: NDArray[np.bool_]) -> list[list[int]]:
    """Groups of methods of which no two are shown to differ, so that any two like that are in one of them."""
    held: set[tuple[int, int]] = set()
    groups = []
    for pair in combinations(range(len(methods)), 2):
        if apart[pair] or pair in held:
            continue
        group = [*pair]
        for place in range(len(methods)):
            if place not in group and not apart[place, group].any():
                group.append(place)
        groups.append(sorted(group))
        held |= {*combinations(groups[-1], 2)}
    return groups


def _friedman(row: Mapping[Any, Any]) -> str:
    told = f"n = {row['n']}" + (f" in {row['units']} clusters" if row["units"] < row["n"] else "")
    if np.isnan(row["friedman_p"]):
        return told
    p = "p < 0.001" if row["friedman_p"] < 0.001 else f"p = {row['friedman_p']:.3f}"
    return f"{told}; Friedman {p}, W = {row['kendall_w']:.2f}"


def place_maps(view: View, block: Block) -> Iterator[Figure]:
    """A panel for every column: in how many of the resamples of the images each method is first, second, …"""
    made = _ordered(view, block, "mean_rank")
    most = max((len(rows) for _, rows in made), default=0)
    for drawn, axes, own in panels(made, 2, 0.6 + 0.135 * most, shared=False):
        for axis, (column, rows) in zip(axes, own, strict=True):
            places = range(1, len(rows) + 1)
            share = rows[[f"place_{k}" for k in places]].to_numpy(float)
            order = np.argsort(share @ np.array(places), kind="stable")
            methods = [rows["method"].iloc[k] for k in order]
            text = np.vectorize(lambda s: f"{100 * s:.0f}" if s >= 0.005 else "")(share[order])
            told = len(rows) <= _TOLD
            sns.heatmap(
                share[order], annot=text if told else False, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False,
                annot_kws={"size": 6}, xticklabels=False, yticklabels=[*labels(methods, 26).values()], ax=axis,
            )  # fmt: skip
            axis.set_xticks([k - 0.5 for k in _some(len(rows))], [*map(str, _some(len(rows)))])
            axis.set_title(folded(f"{column.head}, n = {rows['n'].iloc[0]}", 50), loc="left")
            axis.set_xlabel("place" + (" (% of resamples)" if told else ", darker: in more resamples"))
            axis.set_ylim(most, 0)
            axis.tick_params(length=0)
        yield drawn
