"""Curves of a metric: the mean over images by method, with its interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from camfaith.benchmark.results.intervals import Floats, Interval, mean_interval
from camfaith.reports.style import WIDTH, Look, figure, label, labels
from camfaith.reports.view import Block, View, spanned

_TOGETHER = 4
"""Methods in one panel."""


def curves(view: View, lines: pd.DataFrame, look: dict[str, Look]) -> Figure | None:
    """One metric's curves on one block: each panel shows a few methods and all controls."""
    x, known = _bands(view, lines)
    if not known:
        return None
    controls = [m for m in known if m in view.controls]
    others = [m for m in known if m not in view.controls]
    count = max(1, math.ceil(len(others) / _TOGETHER))
    groups = [[*map(str, part)] for part in np.array_split(np.array(others, object), count)]
    wide = max(len(label(method, 30)) for method in known)
    columns = count if count <= 3 or (count == 4 and wide <= 20) else 3 if count <= 6 or wide > 20 else 4
    named = labels(list(known), 30 if columns < 3 else 26)  # a longer legend would leave no room for the curves
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
                line[0].set_label(named[method])
            elif axis is axes[0]:
                legend.append((line[0], named[method]))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, handlelength=2.2, labelspacing=0.2)
        axis.grid(axis="y")
    for axis in axes[count:]:
        axis.set_axis_off()
    first, shown = lines.iloc[0], spanned(int(band.n.max()) for band in known.values())
    for place, axis in enumerate(axes[:count]):
        axis.set_xlim(min(0, x.min()), x.max())
        axis.set_xlabel(str(first["x_label"]) if place + columns >= count else "")
        axis.tick_params(labelbottom=place + columns >= count)
        axis.set_ylabel(f"mean {first['y_label']}, {shown}" if place % columns == 0 else "")
    if not any((band.mean < 0).any() for band in known.values()):
        axes[0].set_ylim(bottom=0)
    if legend:
        handles, told = zip(*legend, strict=True)
        result.legend(handles, told, loc="outside lower center", ncols=min(5, len(legend)), handlelength=3)
    return result


def _bands(view: View, lines: pd.DataFrame) -> tuple[Floats, dict[str, Interval]]:
    """x, and each method's mean curve over images with intervals at each point; curves with another x are left out."""
    x = np.asarray(lines.iloc[0]["x"], float)
    lines = lines[[len(y) == len(x) for y in lines["y"]]].drop_duplicates(["method", "sample"], keep="last")
    samples = pd.Index(lines["sample"].unique())
    methods = [m for m in view.methods if m in set(lines["method"])]
    values = np.full((len(methods), len(samples), len(x)), np.nan)
    places = pd.Index(methods).get_indexer(pd.Index(lines["method"])), samples.get_indexer(pd.Index(lines["sample"]))
    values[places] = np.stack([*lines["y"]])
    units = view.units_of(Block(*lines.iloc[0][["model", "dataset"]]), samples)
    rows = values.transpose(0, 2, 1).reshape(-1, len(samples))
    found = mean_interval(rows, units)
    parts = zip(*(part.reshape(len(methods), -1) for part in found), strict=True)
    return x, {method: Interval(*part) for method, part in zip(methods, parts, strict=True)}
