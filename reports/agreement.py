"""Whether metrics order the methods alike: Kendall's τ, drawn and as a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from camfaith.benchmark.results.showing import MISSING
from camfaith.reports.markup import Row, Table, Value
from camfaith.reports.style import folded, labels, panels
from camfaith.reports.view import Block, View, file_stem, spanned

_TOLD = 9
"""Up to so many metrics a panel has room for numbers."""


def agreement_maps(view: View) -> Iterator[Figure]:
    """A panel for every block: τ between every two metrics."""
    known = view.agreement[view.agreement["tau"].notna()]
    metrics = [c.metric for c in view.ranked if c.metric in {*known["first"], *known["second"]}]
    blocks = [block for block in view.blocks if len(view.of(block, known))]
    named = [*labels(metrics, 22).values()]
    across = 3 if len(metrics) <= _TOLD else 2
    for drawn, axes, own in panels(blocks, across, 1.35 + 0.2 * len(metrics)):
        for axis, block in zip(axes, own, strict=True):
            tau = np.full((len(metrics), len(metrics)), np.nan)
            own_rows = view.of(block, known)
            for row in own_rows.to_dict("records"):
                first, second = metrics.index(row["first"]), metrics.index(row["second"])
                tau[second, first] = row["tau"]
            shown = tau[1:, :-1]
            text = np.vectorize(lambda t: "" if np.isnan(t) else f"{t:.2f}".replace("0.", ".").replace("-", "−"))(shown)
            sns.heatmap(
                shown, annot=text if len(metrics) <= _TOLD else False, fmt="", cmap="RdBu", vmin=-1, vmax=1, cbar=False,
                linewidths=0.6, annot_kws={"size": 6}, xticklabels=named[:-1], yticklabels=named[1:], ax=axis,
            )  # fmt: skip
            axis.set_title(f"{folded(block.title, 30)}\n{spanned(own_rows['n'])}", loc="left")
            axis.tick_params(length=0)
            axis.tick_params(axis="x", rotation=90)
        yield drawn


def agreement_table(view: View, block: Block) -> Table | None:
    """τ of every two metrics, with its interval."""
    rows = []
    for row in view.of(block, view.agreement).to_dict("records"):
        if np.isnan(row["tau"]):
            continue
        interval = MISSING if np.isnan(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"
        shown = [Value(str(row["n"])), Value(str(row["methods"])), Value(f"{row['tau']:.2f}", interval)]
        rows.append(Row(f"{row['first']} – {row['second']}", False, shown))
    if not rows:
        return None
    title = f"Agreement between metrics: {block.title}"
    return Table(
        file_stem("agreement", *block), title, ["n", "methods", "Kendall's τ [95 % interval]"], rows, of="metrics"
    )
