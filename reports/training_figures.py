"""Figures of a training: how it went, which classes are taken for which, and whether confidence is deserved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from camfaith.benchmark.results.evaluation import Evaluation
from camfaith.reports.style import WIDTH, figure, labels, looks

_TOLD = 12
"""Up to so many classes a panel has room for counts."""
_NAMED = 40
"""Up to so many classes have room for their names."""
_PANELS: Mapping[str, Mapping[str, str]] = {
    "loss": {"train_loss": "train", "val_loss": "val"},
    "accuracy (val)": {"val_accuracy": "all images", "val_balanced_accuracy": "mean over classes"},
    "quadratic κ (val)": {"val_kappa": ""},
    "learning rate": {"rate": ""},
}


def history_curves(history: pd.DataFrame, best: int | None) -> Figure:
    """Loss, accuracies, κ and learning rate against epochs; a line marks the epoch whose weights were kept."""
    drawn = figure(WIDTH, 1.75)
    hues = [look.colour for look in looks(["first", "second"], ()).values()]
    for axis, (title, columns) in zip(drawn.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for hue, (column, name) in zip(hues, columns.items(), strict=False):
            mark = "o" if len(history) < 3 else None
            axis.plot(history["epoch"], history[column], color=hue, label=name, marker=mark, ms=3)
        if best is not None:
            axis.axvline(best, color="0.35", lw=0.8, ls=(0, (4, 2)), zorder=0.5)
        if title == "learning rate":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")  # powers of ten would be set as formulae
            axis.yaxis.set_minor_formatter(NullFormatter())
        elif title != "loss":
            axis.set_ylim(min(0, np.nanmin([0, *history[[*columns]].min()])), 1.02)
        if len(columns) > 1:
            axis.legend()
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.grid(axis="y")
        axis.set_axisbelow(True)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return drawn


def confusion_maps(parts: Mapping[str, Evaluation]) -> Figure:
    """For each part a panel: of each label's images (rows), the share that is taken for each class (columns), and
    their number."""
    classes = len(next(iter(parts.values())).class_names)
    side = min(0.9 + 0.26 * classes, WIDTH / 2)
    drawn = figure(min(WIDTH, 0.8 + side * len(parts)), side + 0.35)
    for axis, (part, found) in zip(drawn.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        counts = np.array(found.confusion)
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        names = [*labels(found.class_names, 16).values()] if classes <= _NAMED else False
        if names and len({*found.class_names}) < classes:
            names = [str(place) for place in range(classes)]
        sns.heatmap(
            share, annot=np.where(counts, counts.astype(str), "") if classes <= _TOLD else False, fmt="", cmap="Blues",
            vmin=0, vmax=1, cbar=False, linewidths=0.4 if classes <= _NAMED else 0, square=True,
            annot_kws={"size": 6}, xticklabels=names, yticklabels=names, ax=axis,
        )  # fmt: skip
        axis.set_title(f"{part}, {found.n} images", loc="left")
        axis.set_xlabel("predicted")
        axis.set_ylabel("label")
        axis.tick_params(length=0)
        axis.tick_params(axis="x", rotation=90)
        axis.tick_params(axis="y", rotation=0)
    return drawn


def reliability_curves(parts: Mapping[str, Evaluation]) -> Figure:
    """Accuracy against confidence in bins, and beneath how many images lie in each; on the diagonal confidence is
    deserved."""
    drawn = figure(0.6 + 2.3 * len(parts), 2.6)
    axes = drawn.subplots(2, len(parts), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    (hue,) = (look.colour for look in looks(["one"], ()).values())
    for (above, below), (part, found) in zip(axes.T, parts.items(), strict=True):
        bins: Any = pd.DataFrame(found.reliability)
        held = bins[bins["count"] > 0]
        above.plot([0, 1], [0, 1], color="0.35", lw=0.8, ls=(0, (4, 2)))
        above.plot(held["confidence"], held["accuracy"], color=hue, marker="o", ms=3)
        above.set_title(f"{part}, calibration error {found.ece:.3f}", loc="left")
        above.set_ylim(-0.02, 1.02)
        below.bar(bins["low"], bins["count"], bins["high"] - bins["low"], align="edge", color=hue, alpha=0.4)
        below.set_xlim(0, 1)
        below.set_xlabel("confidence")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axis in (above, below):
            axis.grid(axis="y")
            axis.set_axisbelow(True)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("images")
    return drawn
