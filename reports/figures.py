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
from matplotlib.ticker import NullFormatter

from camfaith.benchmark.statistics import Floats, Interval, mean_interval
from camfaith.reports.style import WIDTH, Look, figure, looks, save, settings
from camfaith.reports.view import Block, Judged, View, file_stem, shortened

_BAND_RESAMPLES = 999
_TOGETHER = 4
"""Methods in one panel of curves."""


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn: `path` without its suffix, and what it shows (of which block; None: of all)."""

    kind: str
    title: str
    block: Block | None
    path: Path


def draw(view: View, folder: Path) -> list[Drawing]:
    """Draw and save every figure that the run has results for."""
    folder.mkdir(parents=True, exist_ok=True)
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


def curves(view: View, lines: pd.DataFrame, look: dict[str, Look]) -> Figure | None:
    """One metric's curves on one block: a few methods in each panel, the controls in all of them."""
    x, known = _bands(view, lines)
    if not known:
        return None
    controls = [m for m in known if m in view.controls]
    others = [m for m in known if m not in view.controls]
    count = max(1, math.ceil(len(others) / _TOGETHER))
    groups = [[*map(str, part)] for part in np.array_split(np.array(others, object), count)]
    columns = count if count <= 4 else 3 if count <= 6 else 4
    rows = math.ceil(count / columns)
    result = figure(WIDTH if columns > 1 else WIDTH / 2, 2.45 * rows + 0.12 * len(controls) / 4)
    axes = result.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    legend = []
    for axis, group in zip(axes, groups, strict=False):
        for method in (*controls, *group):
            interval = known[method]
            style = look[method]
            line = axis.plot(
                x, interval.mean, color=style.colour, linestyle=style.dash, lw=0.9 if method in controls else 1.3
            )
            if method in group:
                axis.fill_between(x, interval.low, interval.high, color=style.colour, alpha=0.15, lw=0)
                line[0].set_label(_text(method, 30))
            elif axis is axes[0]:
                legend.append((line[0], _text(method, 30)))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, handlelength=2.2, labelspacing=0.2)
        axis.grid(axis="y")
    for axis in axes[count:]:
        axis.set_axis_off()
    first = lines.iloc[0]
    for place, axis in enumerate(axes[:count]):
        axis.set_xlim(0, 1)
        axis.set_xlabel(str(first["x_label"]) if place + columns >= count else "")
        axis.tick_params(labelbottom=place + columns >= count)
        axis.set_ylabel(f"mean {first['y_label']}" if place % columns == 0 else "")
    if all(np.nanmin(band.mean) >= 0 for band in known.values()):
        axes[0].set_ylim(bottom=0)
    if legend:
        handles, labels = zip(*legend, strict=True)
        result.legend(handles, labels, loc="outside lower center", ncols=min(5, len(legend)), handlelength=3)
    return result


def _bands(view: View, lines: pd.DataFrame) -> tuple[Floats, dict[str, Interval]]:
    """x, and by method the mean curve over images with its interval at each point; curves with another x are left."""
    x = np.asarray(lines.iloc[0]["x"], float)
    lines = lines[[len(y) == len(x) for y in lines["y"]]].drop_duplicates(["method", "sample"], keep="last")
    samples = pd.Index(lines["sample"].unique())
    methods = [m for m in view.methods if m in set(lines["method"])]
    values = np.full((len(methods), len(samples), len(x)), np.nan)
    places = pd.Index(methods).get_indexer(pd.Index(lines["method"])), samples.get_indexer(pd.Index(lines["sample"]))
    values[places] = np.stack([*lines["y"]])
    units = [view.unit_of.get(sample, ("sample", sample)) for sample in samples]
    rows = values.transpose(0, 2, 1).reshape(-1, len(samples))
    found = mean_interval(rows, units, resamples=_BAND_RESAMPLES)
    parts = zip(*(part.reshape(len(methods), -1) for part in found), strict=True)
    return x, {method: Interval(*part) for method, part in zip(methods, parts, strict=True)}


def distributions(view: View, block: Block, look: dict[str, Look]) -> Figure | None:
    """Every image's value in each main column: boxes by method over the points."""
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
        _boxes(axis, found, methods, look)
        axis.set_title(_text(column.head, 40), loc="left")
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(methods)), [_text(m, 26) for m in methods])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    _slant(axes[: len(panels) : columns], view, methods)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return result


def _boxes(axis: Any, found: pd.DataFrame, methods: Sequence[str], look: dict[str, Look]) -> None:
    """Box plots over their points, in four artists whatever the number of methods."""
    values = found["value"].to_numpy(float)
    places = found["method"].map({m: place for place, m in enumerate(methods)}).to_numpy(float)
    scale = _scale(values)
    if scale:
        axis.set_xscale(*scale[:1], **scale[1])
        axis.xaxis.set_major_formatter("{x:g}")  # powers of ten would be set as formulae
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("logarithmic", labelpad=1)
    shift = np.random.default_rng(0).uniform(-0.28, 0.28, len(values))
    colours = [look[m].colour for m in found["method"]]
    axis.scatter(values, places + shift, s=2, c=colours, alpha=0.45, linewidths=0, rasterized=True, zorder=1.5)
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
    return float(within.min()), float(first), float(middle), float(third), float(within.max())


def _scale(values: Any) -> tuple[str, dict[str, Any]] | None:
    """A logarithmic axis for values that span orders of magnitude, with zero kept where there are zeros or signs."""
    size = np.abs(values[values != 0])
    if not len(size) or np.quantile(size, 0.99) < 15 * np.median(size):
        return None
    if (values > 0).all():
        return "log", {}
    return "symlog", {"linthresh": float(10 ** np.floor(np.log10(np.median(size))))}


def rank_map(view: View) -> Figure | None:
    """Ranks of methods by metric, a panel for each block and, last, the mean over blocks."""
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
    titles = ["\n".join(_text(part, 24) for part in (c.metric, c.column)) for c in view.ranked]
    longest = max(len(line) for title in titles for line in title.split("\n"))
    width = min(WIDTH, 1.7 + columns * len(titles) * 0.36)
    result = figure(width, deep * (0.3 + 0.16 * len(methods)) + 0.06 * longest + 0.1)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (title, ranks) in zip(axes, panels, strict=False):
        text = np.vectorize(lambda r: "" if np.isnan(r) else f"{r:.1f}".removesuffix(".0"))(ranks)
        sns.heatmap(
            ranks, annot=text, fmt="", cmap="viridis_r", vmin=1, vmax=max(2, len(methods)), cbar=False,
            linewidths=0.6, annot_kws={"size": 6}, xticklabels=titles, yticklabels=[_text(m, 26) for m in methods],
            ax=axis,
        )  # fmt: skip
        axis.set_facecolor("0.93")
        axis.set_title(_text(title, 42 if columns < 3 else 26), loc="left")
        axis.tick_params(length=0)
        axis.tick_params(axis="x", rotation=90)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for above in axes[max(0, len(panels) - columns) : (deep - 1) * columns]:
        above.tick_params(labelbottom=True)
    return result


def _block_ranks(view: View, block: Block, methods: Sequence[str]) -> Any:
    return _grid(methods, view.ranked, {key: row["rank"] for key, row in view.cells(block).items()})


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
    result = figure(1.4 + (WIDTH - 1.4) * columns / 3, deep * (0.35 + 0.17 * len(methods)) + 0.55)
    axes = result.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (block, found) in zip(axes, panels, strict=False):
        for place, method in enumerate(methods):
            if method in found:
                _corner_bars(axis, place, found[method], look[method].colour)
        areas = [c["share"]["mean"] - c["excess"]["mean"] for c in found.values() if "excess" in c]
        if areas:
            area = float(np.median(areas))
            axis.axvline(area, color="0.2", lw=0.8, ls=(0, (4, 2)), zorder=0.5)
        axis.set_title(_text(block.title, 34), loc="left")
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(left=0)
    axes[0].set_yticks(range(len(methods)), [_text(m, 26) for m in methods])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    _slant(axes[: len(panels) : columns], view, methods)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    result.supxlabel(
        "mass in the corners: pale – share of the map's mass; full – share the model does not support\n"
        "(means, 95 % intervals; dashed: the corners' share of the area)",
        fontsize=7,
    )
    return result


def _corner(view: View, block: Block, metric: str, method: str) -> dict[str, Any]:
    cells = view.cells(block)
    found = {name: cells.get((method, metric, name)) for name in ("share", "unsupported", "excess")}
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
    """Controls' names in italics, at the left of each row of panels."""
    for axis in axes:
        for label, method in zip(axis.get_yticklabels(), methods, strict=False):
            label.set_style("italic" if method in view.controls else "normal")


def _text(name: str, width: int) -> str:
    """A name as a label; a leading underscore would hide it from legends."""
    text = shortened(" ".join(name.split()), width)
    return f" {text}" if text.startswith("_") else text
