"""Figures of a run: curves, distributions, ranks, corner mass; each as PDF, SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from camfaith.benchmark.results.files import own_folder
from camfaith.benchmark.results.intervals import Floats
from camfaith.reports.agreement import agreement_maps
from camfaith.reports.curves import curves
from camfaith.reports.ranks import critical_difference, place_maps, rank_maps
from camfaith.reports.skill import skill_figures
from camfaith.reports.style import WIDTH, Look, figure, folded, labels, looks, panels, save, settings, slant
from camfaith.reports.view import ALL, Block, Judged, View, file_stem, spanned


@dataclass(frozen=True)
class Drawing:
    """A drawn figure: what it shows, of which block (None for all), and its `path` without a suffix."""

    kind: str
    title: str
    block: Block | None
    path: Path


def draw(view: View, folder: Path) -> list[Drawing]:
    """Draw and save every figure that the run has results for."""
    own_folder(folder)
    drawings = []
    with settings():
        for kind, title, block, drawn in _figures(view, looks(view.methods, view.controls)):
            stem = folder / file_stem(kind, title, *(block or ()))
            save(drawn, stem)
            drawings.append(Drawing(kind, title, block, stem))
    return drawings


def _figures(view: View, look: dict[str, Look]) -> Iterator[tuple[str, str, Block | None, Figure]]:
    for block in view.blocks:
        lines = view.of(block, view.result.lines)
        for metric in lines["metric"].unique():
            drawn = curves(view, lines[lines["metric"] == metric], look)
            if drawn is not None:
                yield "curves", str(metric), block, drawn
        for kind, sheets in (
            ("distributions", distributions(view, block, look)),
            ("skill", skill_figures(view, block, look)),
            ("critical-difference", critical_difference(view, block, look)),
            ("places", place_maps(view, block)),
        ):
            for title, sheet in _numbered("main columns", sheets):
                yield kind, title, block, sheet
    for title, sheet in _numbered("all models and data sets", rank_maps(view)):
        yield "ranks", title, None, sheet
    for title, sheet in _numbered("over models and data sets", critical_difference(view, ALL, look)):
        yield "critical-difference", title, None, sheet
    for title, sheet in _numbered("all models and data sets", agreement_maps(view)):
        yield "agreement", title, None, sheet
    for metric in view.metrics_named("corner-artifact"):
        drawn = corner_mass(view, metric, look)
        if drawn is not None:
            yield "corners", metric, None, drawn


def _numbered(title: str, sheets: Iterable[Figure]) -> Iterator[tuple[str, Figure]]:
    """Sheets with a title each, that says which of several they are."""
    made = [*sheets]
    for place, sheet in enumerate(made, 1):
        yield (f"{title}, sheet {place} of {len(made)}" if len(made) > 1 else title), sheet


def distributions(view: View, block: Block, look: dict[str, Look]) -> Iterator[Figure]:
    """Every image's value in each main column: a point per image, under a box per method."""
    rows = view.of(block, view.scores)
    rows = rows[rows["status"].isin(["ok", "constant"]) & np.isfinite(rows["value"].astype(float))]
    shown = [(c, rows[(rows["metric"] == c.metric) & (rows["column"] == c.column)]) for c in view.judged]
    shown = [(column, found) for column, found in shown if len(found)]
    methods = [m for m in view.methods if any((found["method"] == m).any() for _, found in shown)]
    for drawn, axes, own in panels(shown, 3, 0.55 + 0.145 * len(methods)):
        for axis, (column, found) in zip(axes, own, strict=True):
            _scale(axis, view, column)
            _boxes(axis, found, methods, look)
            axis.set_title(folded(column.head, 28), loc="left")
            axis.grid(axis="x")
            axis.set_axisbelow(True)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(methods)), [*labels(methods, 26).values()])
        axes[0].set_ylim(len(methods) - 0.4, -0.6)
        slant(axes[::3], methods, view.controls)
        yield drawn


def _boxes(axis: Any, found: pd.DataFrame, methods: Sequence[str], look: dict[str, Look]) -> None:
    """Box plots over their points, in four artists whatever the number of methods."""
    values = found["value"].to_numpy(float)
    places = found["method"].map({m: place for place, m in enumerate(methods)}).to_numpy(float)
    shift = np.random.default_rng(0).uniform(-0.28, 0.28, len(values))
    colours = [look[m].colour for m in found["method"]]
    size = 1.5 + 240 / (60 + len(values) / len(methods))
    axis.scatter(values, places + shift, s=size, c=colours, alpha=0.5, linewidths=0, rasterized=True, zorder=1.5)
    edges, whiskers, medians = [], [], []
    for place in range(len(methods)):
        own = values[places == place]
        if not len(own):
            edges.append(np.empty((0, 2)))
            continue
        low, first, middle, third, high = _five(own)
        edges.append(
            np.array([(first, place - 0.31), (third, place - 0.31), (third, place + 0.31), (first, place + 0.31)])
        )
        whiskers += [((low, place), (first, place)), ((third, place), (high, place))]
        medians.append(((middle, place - 0.31), (middle, place + 0.31)))
    colours = [look[m].colour for m in methods]
    axis.add_collection(PolyCollection(edges, facecolor="none", edgecolor=colours, lw=0.8), autolim=False)
    axis.add_collection(LineCollection(whiskers, colors="0.3", lw=0.6), autolim=False)
    axis.add_collection(LineCollection(medians, colors="0.1", lw=1.5), autolim=False)


def _five(values: Floats) -> tuple[float, float, float, float, float]:
    """Tukey's five numbers: whiskers end at the last value within 1.5 times the box's length."""
    first, middle, third = np.quantile(values, [0.25, 0.5, 0.75])
    reach = 1.5 * (third - first)
    within = values[(values >= first - reach) & (values <= third + reach)]
    low, high = min(within.min(), first), max(within.max(), third)
    return float(low), float(first), float(middle), float(third), float(high)


def _scale(axis: Any, view: View, column: Judged) -> None:
    """Make the axis logarithmic where a column's values leave [-1, 1] and span orders of magnitude, in all blocks."""
    scores = view.scores
    values = scores.loc[(scores["metric"] == column.metric) & (scores["column"] == column.column), "value"]
    values = values.to_numpy(float)[np.isfinite(values.to_numpy(float))]
    size = np.abs(values[values != 0])
    if not len(size) or size.max() <= 1 or np.quantile(size, 0.99) < 15 * np.median(size):
        return
    if (values > 0).all():
        axis.set_xscale("log")
    else:  # keeps room for zeros and signs
        axis.set_xscale("symlog", linthresh=float(10 ** np.floor(np.log10(np.median(size)))))
    axis.xaxis.set_major_formatter("{x:g}")  # powers of ten would be set as formulae
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("logarithmic", labelpad=1)


def corner_mass(view: View, metric: str, look: dict[str, Look]) -> Figure | None:
    """The share of each method's mass in the corners, and within it the share that the model does not support."""
    shown = [(b, {m: _corner(view, b, metric, m) for m in view.methods}) for b in view.blocks]
    shown = [(block, {m: c for m, c in found.items() if c}) for block, found in shown]
    shown = [(block, found) for block, found in shown if found]
    if not shown:
        return None
    methods = [m for m in view.methods if any(m in found for _, found in shown)]
    columns = min(3, len(shown))
    deep = math.ceil(len(shown) / columns)
    result = figure(max(4.3, 1.4 + (WIDTH - 1.4) * columns / 3), deep * (0.35 + 0.17 * len(methods)) + 0.65)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (block, found) in zip(axes, shown, strict=False):
        for place, method in enumerate(methods):
            if method in found:
                _corner_bars(axis, place, found[method], look[method].colour)
        areas = [c["share"]["mean"] - c["excess"]["mean"] for c in found.values() if "excess" in c]
        if areas:
            area = float(np.median(areas))
            axis.axvline(area, color="0.2", lw=0.8, ls=(0, (4, 2)), zorder=0.5)
        axis.set_title(folded(block.title, 26 if columns > 1 else 34), loc="left")
        axis.set_xlabel(spanned(row["n"] for parts in found.values() for row in parts.values()))
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_yticks(range(len(methods)), [*labels(methods, 26).values()])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    slant([*axes[: len(shown) : columns]], methods, view.controls)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    result.supxlabel(
        "mass in the corners: pale – share of the map's mass;\nfull – share that the model does not support\n"
        "(means, 95 % intervals; dashed: the corners' share of the area)",
        fontsize=7,
    )
    return result


def _corner(view: View, block: Block, metric: str, method: str) -> dict[str, Any]:
    summary = view.summary_of(block)
    found = {name: summary.get((method, metric, name)) for name in ("share", "unsupported", "excess")}
    known = {name: row for name, row in found.items() if row and row["n"]}
    return known if "share" in known else {}


def _corner_bars(axis: Any, place: int, found: dict[str, Any], colour: str) -> None:
    for name, height, shift, alpha in (("share", 0.78, -0.2, 0.3), ("unsupported", 0.4, 0.18, 1.0)):
        if name not in found:
            continue
        row = found[name]
        offset = 0 if name == "share" else shift
        axis.barh(place + offset, row["mean"], height=height, color=colour, alpha=alpha, lw=0)
        limits = [[max(0, row["mean"] - row["low"])], [max(0, row["high"] - row["mean"])]]
        if np.isfinite(limits).all():
            axis.errorbar(row["mean"], place + shift, xerr=limits, color="0.1", lw=0.7, capsize=1.2, capthick=0.7)
