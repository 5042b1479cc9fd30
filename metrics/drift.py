"""How far altered images drift from what the network knows: a label beside every metric that removes parts of them."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answer

DRIFT = {"confidence": (0, 1), "drift": (0, inf)}
NO_DRIFT = (
    "drift: the network has no linear layer at its end; confidence: it gives no probability; both: nothing lies "
    "between the ends of the curve"
)
UNKNOWN = NO_DRIFT.rpartition("; ")[0]
"""The same of what is no curve."""


def drift(confidence: Tensor, distance: Tensor) -> dict[str, Tensor]:
    """How sure the network is of n altered images of each of B images, and how far they are from it in the network's
    own features φ, by the greatest probability of a class and ‖φ(x̃) − φ(x)‖ / ‖φ(x)‖ of each (B×n). Columns of B
    values, means over the n images:

    - `confidence`: the mean greatest probability, in [0, 1]; NaN where the network gives none
    - `drift`: the mean distance, 0 or more; NaN where the network has no linear layer at its end, whose input φ is

    A network was never trained on images with removed pixels (Hooker et al. 2019). Where it is sure of images that show
    nothing, or where these are farther from the image than other images are, their scores say little of the map.

    >>> found = drift(torch.tensor([[0.9, 0.7]]), torch.tensor([[0.0, 1.0]]))
    >>> {name: round(value.item(), 6) for name, value in found.items()}
    {'confidence': 0.8, 'drift': 0.5}
    """
    return {"confidence": confidence.double().mean(1), "drift": distance.double().mean(1)}


def drift_of(*answers: Answer) -> dict[str, Tensor]:
    """The same over the images of some probes; where an answer repeats its last image, that counts once."""
    counts = torch.cat([_distinct(one) for one in answers], 1)

    def mean(values: list[Tensor]) -> Tensor:
        return torch.where(counts, torch.cat(values, 1), 0).sum(1) / counts.sum(1)

    return {"confidence": mean([a.confidence for a in answers]), "drift": mean([a.distance for a in answers])}


def _distinct(answer: Answer) -> Tensor:
    """Which of a probe's images are there (B×n): one with fewer than others repeats its last."""
    if answer.at is None:
        return torch.ones_like(answer.logit, dtype=torch.bool)
    return torch.cat([torch.ones_like(answer.at[:, :1]), answer.at.diff(dim=1)], 1) != 0
