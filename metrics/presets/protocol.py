"""What published protocols share: images in the network's own colours, and an order of pixels that knows no lot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from camfaith.metrics.base import Case, Metric
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.maps import Aspect
from camfaith.metrics.probing.probes import Fill, OneImage, Subject


@dataclass(frozen=True, kw_only=True)
class Protocol(Metric):
    """A metric as somebody else published it, to the letter: also where this package would do it otherwise.

    It alters images as the network takes them, after its normalisation: what is set to 0 there is the mean colour that
    the network subtracts, and not black.
    """


def normalised(images: Tensor, case: Case) -> Tensor:
    """Images of a case (…×C×H×W) as its network takes them, (x − mean)/std."""
    mean, std = _colours(images, case)
    return (images - mean) / std


def restored(images: Tensor, case: Case) -> Tensor:
    """Images as a network takes them, as they were before its normalisation: x·std + mean."""
    mean, std = _colours(images, case)
    return images * std + mean


def _colours(images: Tensor, case: Case) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation by which the network normalises (C×1×1 each)."""
    mean, std = case.normalisation
    if mean is None or std is None:
        return images.new_zeros(()), images.new_ones(())
    return images.new_tensor(mean)[:, None, None], images.new_tensor(std)[:, None, None]


def replacement(subject: Subject, baseline: Baseline) -> Tensor:
    """What a baseline makes of an image as the network takes it (3×H×W), before its normalisation."""
    at = slice(subject.index, subject.index + 1)
    taken = normalised(subject.image[None], subject.case)
    return restored(baseline(taken, subject.case.seeds[at]), subject.case)[0]


def places(values: Tensor, *, last: bool = False) -> Tensor:
    """Each number's place in the order, 0 for the highest; of equal ones the first comes first, or the last."""
    flat = values.flatten()
    order = flat.argsort(stable=True).flip(0) if last else flat.argsort(descending=True, stable=True)
    return order.argsort().view_as(values)


def covered(subject: Subject, blank: Tensor, gone: Callable[[int, int], Tensor]) -> Fill:
    """The image with what is `gone(start, stop)` (n×3×H×W or n×1×H×W, bool) from another one (3×H×W)."""

    def fill(start: int, stop: int, out: Tensor) -> None:
        torch.where(gone(start, stop), blank, subject.image, out=out)

    return fill


def stretched(maps: Tensor, eps: float) -> Tensor:
    """(M − min)/(max − min + eps) of each map (B×h×w): a constant one becomes 0."""
    from_zero = maps - maps.amin((-2, -1), keepdim=True)
    return from_zero / (from_zero.amax((-2, -1), keepdim=True) + eps)


@dataclass(frozen=True)
class Shown(OneImage):
    """The image times a map of it, as the network takes it; a subclass says which map, by `mask`."""

    reads: ClassVar[Aspect] = "raw"

    def mask(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """What the image is multiplied by (B×H×W), of the maps that the probe reads."""
        raise NotImplementedError

    def altered(self, subject: Subject) -> Tensor:
        mask = self.mask(subject.read(self.reads)[None], subject.case.size)[0].to(subject.image)
        return restored(normalised(subject.image, subject.case) * mask, subject.case)
