"""Figures of a run: curves, distributions, ranks, corner mass; each as PDF, SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from camfaith.benchmark.results.files import own_folder
from camfaith.benchmark.results.intervals import Floats
from camfaith.reports.curves import curves
from camfaith.reports.style import WIDTH, Look, figure, folded, label, labels, looks, save, settings
from camfaith.reports.view import Block, Judged, View, file_stem


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
        drawn = distributions(view, block, look)
        if drawn is not None:
            yield "distributions", "main columns", block, drawn
    drawn = rank_map(view)
    if drawn is not None:
        yield "ranks", "all", None, drawn
    for metric in view.metrics_named("corner-artifact"):
        drawn = corner_mass(view, metric, look)
        if drawn is not None:
            yield "corners", metric, None, drawn


def distributions(view: View, block: Block, look: dict[str, Look]) -> Figure | None:
    """Every image's value in each main column: a point per image, under a box per method."""
    rows = view.of(block, view.scores)
    rows = rows[rows["status"].isin(["ok", "constant"]) & np.isfinite(rows["value"].astype(float))]
    panels = [(c, rows[(rows["metric"] == c.metric) & (rows["column"] == c.column)]) for c in view.judged]
    panels = [(column, found) for column, found in panels if len(found)]
    if not panels:
        return None
    methods = [m for m in view.methods if any((found["method"] == m).any() for _, found in panels)]
    columns = min(3, len(panels))
    deep = math.ceil(len(panels) / columns)
    result = figure(WIDTH if columns > 1 else WIDTH / 2, deep * (0.55 + 0.145 * len(methods)))
    axes = result.subplots(deep, columns, sharey=True, squeeze=False).ravel()
    for axis, (column, found) in zip(axes, panels, strict=False):
        _scale(axis, view, column)
        _boxes(axis, found, methods, look)
        axis.set_title(folded(column.head, 28 if columns == 3 else 40), loc="left")
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(methods)), [*labels(methods, 26).values()])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    _slant([*axes[: len(panels) : columns]], view, methods)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return result


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


def rank_map(view: View) -> Figure | None:
    """Ranks of methods by metric: a panel for each block, and last one for the mean over blocks."""
    methods = [m for m in view.methods if m in set(view.ranks["method"])]
    if not methods:
        return None
    panels = [(block.title, _block_ranks(view, block, methods)) for block in view.blocks]
    if len(view.blocks) > 1:
        mean = view.ranks.set_index(["method", "metric", "column"])["rank"].to_dict()
        panels.append(("mean over blocks", _grid(methods, view.ranked, mean)))
    most = max(1, int(22 / len(view.ranked)))
    deep = math.ceil(len(panels) / most)
    columns = math.ceil(len(panels) / deep)
    named, metrics = labels(methods, 26), labels([c.metric for c in view.ranked], 24)
    titles = [f"{metrics[c.metric]}\n{label(c.column, 24)}" for c in view.ranked]
    longest = max(len(line) for title in titles for line in title.split("\n"))
    width = min(WIDTH, 1.7 + columns * len(titles) * 0.36)
    result = figure(width, deep * (0.3 + 0.16 * len(methods)) + 0.06 * longest + 0.1)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (title, ranks) in zip(axes, panels, strict=False):
        text = np.vectorize(lambda r: "" if np.isnan(r) else f"{r:.1f}".removesuffix(".0"))(ranks)
        sns.heatmap(
            ranks, annot=text, fmt="", cmap="viridis_r", vmin=1, vmax=max(2, len(methods)), cbar=False,
            linewidths=0.6, annot_kws={"size": 6}, xticklabels=titles, yticklabels=[*named.values()],
            ax=axis,
        )  # fmt: skip
        axis.set_facecolor("0.93")
        axis.set_title(folded(title, max(16, round(6 * len(titles)))), loc="left")
        axis.tick_params(length=0)
        axis.tick_params(axis="x", rotation=90)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for above in axes[max(0, len(panels) - columns) : (deep - 1) * columns]:
        above.tick_params(labelbottom=True)
    return result


def _block_ranks(view: View, block: Block, methods: Sequence[str]) -> Any:
    return _grid(methods, view.ranked, {key: row["rank"] for key, row in view.summary_of(block).items()})


def _grid(methods: Sequence[str], columns: Sequence[Judged], known: dict[Any, float]) -> Any:
    return np.array([[known.get((m, c.metric, c.column), np.nan) for c in columns] for m in methods])


def corner_mass(view: View, metric: str, look: dict[str, Look]) -> Figure | None:
    """The share of each method's mass in the corners, and within it the share that the model does not support."""
    panels = [(b, {m: _corner(view, b, metric, m) for m in view.methods}) for b in view.blocks]
    panels = [(block, {m: c for m, c in found.items() if c}) for block, found in panels]
    panels = [(block, found) for block, found in panels if found]
    if not panels:
        return None
    methods = [m for m in view.methods if any(m in found for _, found in panels)]
    columns = min(3, len(panels))
    deep = math.ceil(len(panels) / columns)
    result = figure(max(4.3, 1.4 + (WIDTH - 1.4) * columns / 3), deep * (0.35 + 0.17 * len(methods)) + 0.65)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (block, found) in zip(axes, panels, strict=False):
        for place, method in enumerate(methods):
            if method in found:
                _corner_bars(axis, place, found[method], look[method].colour)
        areas = [c["share"]["mean"] - c["excess"]["mean"] for c in found.values() if "excess" in c]
        if areas:
            area = float(np.median(areas))
            axis.axvline(area, color="0.2", lw=0.8, ls=(0, (4, 2)), zorder=0.5)
        axis.set_title(folded(block.title, 26 if columns > 1 else 34), loc="left")
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_yticks(range(len(methods)), [*labels(methods, 26).values()])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    _slant([*axes[: len(panels) : columns]], view, methods)
    for axis in axes[len(panels) :]:
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


def _slant(axes: Sequence[Any], view: View, methods: Sequence[str]) -> None:
    """Set controls' names in italics, at the left of each row of panels."""
    for axis in axes:
        for tick, method in zip(axis.get_yticklabels(), methods, strict=False):
            tick.set_style("italic" if method in view.controls else "normal")
