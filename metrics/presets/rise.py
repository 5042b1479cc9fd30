"""`rise`: deletion and insertion of Petsiuk, Das and Saenko (2018), as `evaluation.py` of eclique/RISE runs them.

Equal to that file where no two pixels of a map are equal. It sorts by numpy's quicksort, whose order of equal values is
not defined; here they leave from the last, bottom right, to the first, which is what a stable sort gives there. It
explains 224×224 pixels and the class that is predicted; here any size goes by 224 pixels a step, and the class is the
suite's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from camfaith.metrics.presets.curves import OrderedCurve

STEP = 224


@dataclass(frozen=True)
class ZeroPaddedBlur:
    """A Gaussian blur with an 11×11 window, σ = 5, that sees 0 beyond the edges; its weights are those of a point that
    was blurred with reflection, as `scipy.ndimage.gaussian_filter` does it."""

    kernel: int = 11
    sigma: float = 5.0

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        reach = self.kernel // 2
        weights = self._weights().to(images).expand(images.shape[1], 1, 1, -1)
        across = F.conv2d(images, weights, padding=(0, reach), groups=images.shape[1])
        return F.conv2d(across, weights.transpose(2, 3), padding=(reach, 0), groups=images.shape[1])

    def _weights(self) -> Tensor:
        """What a point in the middle of `kernel` pixels becomes; the blur reaches 4 σ, and the ends reflect it."""
        reach, middle = int(4 * self.sigma + 0.5), self.kernel // 2
        steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
        blur = torch.exp(-steps.square() / (2 * self.sigma**2))
        there = (middle + steps.long()) % (2 * self.kernel)  # two periods of the reflected pixels
        there = torch.where(there < self.kernel, there, 2 * self.kernel - 1 - there)
        return torch.zeros(self.kernel, dtype=torch.float64).index_add_(0, there, blur / blur.sum())


@dataclass(frozen=True, kw_only=True)
class RiseCurve(OrderedCurve):
    """224 pixels change at each step, until all have. The area is of equal steps, also where the last is smaller; the
    score is the class's probability."""

    last = True

    def counts(self, pixels: int) -> tuple[int, ...]:
        return (*range(0, pixels, STEP), pixels)


@dataclass(frozen=True, kw_only=True)
class Deletion(RiseCurve):
    """The area while the most relevant pixels become 0 after normalisation, the network's mean colour; in [0, 1], lower
    is better (Petsiuk et al. 2018)."""

    name = "deletion"
    better = {"auc": "lower"}
    kept = "rest"


@dataclass(frozen=True, kw_only=True)
class Insertion(RiseCurve):
    """The area while the most relevant pixels enter a blurred image (11×11, σ = 5), which darkens towards the edges: it
    is blurred after normalisation, with zeros around it. In [0, 1], higher is better (Petsiuk et al. 2018)."""

    name = "insertion"
    better = {"auc": "higher"}
    kept = "top"
    baseline = ZeroPaddedBlur()
