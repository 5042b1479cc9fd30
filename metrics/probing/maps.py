"""The maps of one method, which claim to explain the images of a case, and the ways to read them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.copies import own_copy, worked_out_once
from camfaith.metrics.probing.ranks import cells_ranked, fingerprints, ranked
from camfaith.models import maps as steps
from camfaith.models.arrays import Array, tensor_of
from camfaith.models.contract import Bound

Aspect = Literal["raw", "signed", "saliency", "ranks", "cells", "displayed"]
"""What may be read of `Maps`."""


@dataclass(frozen=True)
class Spent:
    """What a map took to make, each image's share of its batch: images through the network and back, seconds, and the
    most MiB that tensors held at once."""

    forwards: float
    backwards: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Maps:
    """The maps of one method for a case: raw (B×h×w, signed, before any display step), and how to read them.

    `rectified` says that the method's definition ends in a ReLU, `layer` which layer it explains (None: the input),
    `contributions` (B×K) what each of the layer's channels adds to the map's sum. `rows` are the places of these images
    in a larger case, where a method explained only some of its images; `explainer` made the maps, where that is known;
    `control` says that the method is a yardstick that does not look at the network; `spent` says of each what it
    took, where that was measured; `found` is where a metric keeps what both its number and its curve are made of.
    """

    raw: Tensor
    case: Case
    rectified: bool = False
    layer: str | None = None
    contributions: Tensor | None = None
    rows: Sequence[int] | None = None
    explainer: Bound | None = None
    control: bool = False
    spent: Sequence[Spent] | None = None
    found: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    original: Maps | None = field(default=None, repr=False, compare=False)
    _prints: dict[Aspect, list[Hashable]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        case: Case,
        raw: Array,
        *,
        layer: str | None = None,
        contributions: Array | None = None,
        explainer: Bound | None = None,
    ) -> Maps:
        """Maps from anywhere, in single precision at least: half would tie pixels that they tell apart."""
        given = tensor_of(raw, "maps").detach()
        return cls(
            given.to(case.images.device, torch.promote_types(given.dtype, torch.float32)),
            case,
            layer=layer,
            contributions=None if contributions is None else tensor_of(contributions, "contributions"),
            explainer=explainer,
            control=explainer is not None and bool(explainer.control),
        )

    def __post_init__(self) -> None:
        if self.raw.ndim != 3 or len(self.raw) != len(self.case):
            raise ValueError(f"expected maps of shape {len(self.case)}×h×w, got {'×'.join(map(str, self.raw.shape))}")
        finite = torch.isfinite(self.raw).flatten(1).all(1)
        if not finite.all():
            raise ValueError(f"the maps of images {(~finite).nonzero().flatten().tolist()} hold NaN or infinite values")

    def copy(self, case: Case) -> Maps:
        """A copy for a metric, which may write into it, with the copy of its case: on the CPU, in double precision."""
        return self._exact._copied(case)

    @cached_property
    def _exact(self) -> Maps:
        return self._copied(self.case)

    def _copied(self, case: Case) -> Maps:
        own = {name: own_copy(getattr(self, name)) for name in ("raw", "contributions")}
        return replace(self, **own, case=case, original=self)

    def select(self, at: Sequence[int], rows: Sequence[int], case: Case) -> Maps:
        """The maps at some places: those of `case`, whose images are the `rows` of a larger one."""
        added = None if self.contributions is None else self.contributions[list(at)]
        spent = None if self.spent is None else [self.spent[place] for place in at]
        return replace(self, raw=self.raw[list(at)], case=case, contributions=added, rows=rows, spent=spent)

    @worked_out_once
    def signed(self) -> Tensor:
        """The raw maps at the images' size (B×H×W)."""
        return steps.upsample(self.raw, self.case.size)

    @worked_out_once
    def positive(self) -> Tensor:
        """The maps rectified, whatever the method, and brought to the images' size (B×H×W)."""
        return steps.upsample(steps.rectify(self.raw), self.case.size)

    @worked_out_once
    def saliency(self) -> Tensor:
        """The maps as the method means them, after its ReLU where it has one, at the images' size (B×H×W)."""
        return self.positive if self.rectified else self.signed

    @property
    def ranks(self) -> Tensor:
        """Each pixel's rank in the saliency map, 0 for the most relevant (B×N)."""
        return self._ranked[0]

    @property
    def ties(self) -> Tensor:
        """The share of pixels whose value another pixel of the same map has too (B, in [0, 1])."""
        return self._ranked[1]

    @worked_out_once
    def _ranked(self) -> tuple[Tensor, Tensor]:
        return ranked(self.saliency, self.case.lottery)

    @property
    def cells(self) -> Tensor:
        """For each pixel, the rank of the cell of the map's own grid that it is in, 0 for the most relevant (B×H×W)."""
        return self._cells_ranked[0]

    @property
    def cell_ties(self) -> Tensor:
        """The share of cells whose value another cell of the same map has too (B, in [0, 1])."""
        return self._cells_ranked[1]

    @worked_out_once
    def _cells_ranked(self) -> tuple[Tensor, Tensor]:
        meant = steps.rectify(self.raw) if self.rectified else self.raw
        return cells_ranked(meant, self.case.size, self.case.seeds)

    @worked_out_once
    def displayed(self) -> Tensor:
        """The maps as they are shown: rectified, upsampled to the images' size and stretched to [0, 1] (B×H×W)."""
        return steps.normalise(self.positive)

    def prints(self, aspect: Aspect) -> list[Hashable]:
        """A fingerprint of that aspect of each map: equal aspects have equal ones."""
        if aspect not in self._prints:
            self._prints[aspect] = list(fingerprints(getattr(self, aspect).flatten(1)))
        return self._prints[aspect]
