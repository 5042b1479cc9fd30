"""`torchcam`: the metrics of torchcam 0.5 (Fernandez), with softmax as `logits_fn`, as its documentation has it.

Equal to the library for the same maps. Its metrics make their own maps, of the softmax's output where `logits_fn` is
one, and so judge other maps than a user sees; here they are the method's. It gives the means over all images; here each
image has its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Probe
from camfaith.metrics.presets.curves import OrderedCurve
from camfaith.metrics.presets.protocol import Protocol, Shown, stretched
from camfaith.models.maps import rectify, upsample

STEPS = 20


@dataclass(frozen=True)
class TorchCAMShown(Shown):
    """The image times its map, which is stretched to [0, 1] on its own grid and then upsampled: nearly no pixel is
    1."""

    def mask(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return upsample(stretched(rectify(maps), 1e-8), size)


@dataclass(frozen=True, kw_only=True)
class AverageDrop(Protocol):
    """`ClassificationMetric`: the image after normalisation, times its map; what is hidden gets the network's mean
    colour (after Chattopadhay et al. 2018). Columns:

    - `drop`: max(0, Y − O)/(Y + 10⁻⁷), in [0, 1], lower is better
    - `increase`: 1 where O > Y, by rounding too, else 0; higher is better
    """

    name = "average-drop"
    main = "drop"
    better = {"drop": "lower", "increase": "higher"}
    range = {"drop": (0, 1), "increase": (0, 1)}
    exempt = {"scale": "10⁻⁸ is added to the map's range"}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (TorchCAMShown(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        Y, O = case.whole("probability"), answers[TorchCAMShown()].of("probability")[:, 0]  # noqa: E741
        return {"drop": (Y - O).clamp(min=0) / (Y + 1e-7), "increase": (O > Y).double()}


@dataclass(frozen=True, kw_only=True)
class TorchCAMCurve(OrderedCurve):
    """`DeletionInsertionMetric`: at most 20 steps of ⌈N/20⌉ pixels, the last one smaller, over the true share of
    pixels; of equal pixels the first, top left, leaves first."""

    last = False

    def counts(self, pixels: int) -> tuple[int, ...]:
        return (*range(0, pixels, ceil(pixels / STEPS)), pixels)

    def shares(self, counts: Sequence[int]) -> Tensor:
        return torch.tensor(counts, dtype=torch.float64) / counts[-1]


@dataclass(frozen=True, kw_only=True)
class Deletion(TorchCAMCurve):
    """The area while the most relevant pixels become 0 after normalisation, the network's mean colour; in [0, 1], lower
    is better (after Petsiuk et al. 2018)."""

    name = "deletion"
    better = {"auc": "lower"}
    kept = "rest"


@dataclass(frozen=True, kw_only=True)
class Insertion(TorchCAMCurve):
    """The area while the most relevant pixels enter an image of the network's mean colour; in [0, 1], higher is
    better (after Petsiuk et al. 2018)."""

    name = "insertion"
    better = {"auc": "higher"}
    kept = "top"
