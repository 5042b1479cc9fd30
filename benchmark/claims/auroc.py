"""How well values predict an outcome: the area under the ROC curve as a mean over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camfaith.benchmark.results.intervals import Floats

Outcome = NDArray[np.bool_]


def placements(values: Floats, outcome: Outcome) -> Floats:
    """Where each sample stands among those of the other outcome, in [0, 1]: of a sample with the outcome the share of
    those without that are below it, ties by half; of one without the share of those with it that are above.

    Over the samples with the outcome, and over those without, the mean is the same: the AUROC, P(x > y) + ½ P(x = y).
    """
    below = np.where(outcome, _share_below(values[~outcome], values), 1 - _share_below(values[outcome], values))
    found: Floats = below.astype(float)
    return found


def spread_out(placed: Floats, outcome: Outcome, edge: float) -> Floats:
    """Values dᵢ whose mean is A − edge and whose squares say how far it may be off, where A is the mean of `placed`
    within each outcome: an AUROC, or the difference of two.

    dᵢ = n/n_o · (Vᵢ − edge) − (A − edge), n_o of the n samples having i's outcome. Where A is the edge, Σ d²/n² is the
    variance of DeLong, DeLong & Clarke-Pearson (1988), and with d added up within clusters that of Obuchowski (1997),
    but for n_o in place of n_o − 1.
    """
    weight = len(placed) / np.where(outcome, outcome.sum(), (~outcome).sum())
    found: Floats = weight * (placed - edge) - (placed[outcome].mean() - edge)
    return found


def _share_below(others: Floats, values: Floats) -> Any:
    ordered = np.sort(others)
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / (2 * len(ordered))
