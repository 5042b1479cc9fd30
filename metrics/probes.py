"""What a metric wants to know of the model, as values: equal probes are asked once.

A probe says which altered images it wants scored. One with `per_map` is asked for every distinct order of the pixels,
any other once per image, whatever the number of methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from camfaith.metrics.baselines import Baseline
from camfaith.metrics.case import Case
from camfaith.metrics.ranks import removed_at

Keep = Callable[[int, int], Tensor]
"""Rows start to stop of a probe's masks: n×N, True where the image stays."""


@dataclass(frozen=True)
class Blank:
    """The baseline image itself."""

    baseline: Baseline
    per_map: ClassVar[bool] = False

    def count(self, pixels: int) -> int:  # noqa: ARG002
        return 1

    def keep(self, case: Case, index: int, order: Tensor | None) -> Keep:  # noqa: ARG002
        nothing = torch.zeros(1, case.pixels, dtype=torch.bool, device=case.images.device)
        return lambda start, stop: nothing[start:stop]


@dataclass(frozen=True)
class Curve:
    """The points between the ends of a curve along the order of a map's pixels.

    At point i of `steps`, the i·N/steps most relevant pixels (rounded up) are gone (`kept="rest"`: deletion, most
    relevant first), or they alone are there (`kept="top"`: insertion, which is the least-relevant-first deletion read
    backwards). The ends are the image and the baseline, and are asked elsewhere.
    """

    kept: Literal["rest", "top"]
    steps: int
    baseline: Baseline
    per_map: ClassVar[bool] = True

    def count(self, pixels: int) -> int:
        return len(removed_at(self.steps, pixels)) - 2

    def keep(self, case: Case, index: int, order: Tensor | None) -> Keep:  # noqa: ARG002
        if order is None:
            raise TypeError("a curve needs the order of a map's pixels")
        removed = removed_at(self.steps, case.pixels, order.device)[1:-1, None].to(order.dtype)
        if self.kept == "rest":
            return lambda start, stop: order >= removed[start:stop]
        return lambda start, stop: order < removed[start:stop]


@dataclass(frozen=True)
class Subsets:
    """`count_each` random subsets of exactly n pixels, removed, for each n of `sizes`; the same for all images."""

    sizes: tuple[int, ...]
    count_each: int
    baseline: Baseline
    seed: int = 0
    per_map: ClassVar[bool] = False

    def count(self, pixels: int) -> int:  # noqa: ARG002
        return len(self.sizes) * self.count_each

    def members(self, pixels: int) -> Tensor:
        """Which pixels each subset holds: (sizes·count_each)×N, bool."""
        return _members(self.sizes, self.count_each, self.seed, pixels)

    def keep(self, case: Case, index: int, order: Tensor | None) -> Keep:  # noqa: ARG002
        members = self.members(case.pixels)
        return lambda start, stop: ~members[start:stop].to(case.images.device)


@lru_cache(maxsize=4)
def _members(sizes: tuple[int, ...], count: int, seed: int, pixels: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    members = torch.zeros(len(sizes) * count, pixels, dtype=torch.bool)
    for row in range(len(members)):
        members[row, torch.randperm(pixels, generator=source)[: sizes[row // count]]] = True
    return members


@dataclass(frozen=True)
class Regions:
    """The image with one region removed at a time; `planes(case, index)` gives them, R×H×W, bool.

    Equal where `planes` and `baseline` are: give a frozen value as `planes`.
    """

    planes: Planes
    baseline: Baseline
    per_map: ClassVar[bool] = False

    def count(self, pixels: int) -> int:  # noqa: ARG002
        return self.planes.count

    def keep(self, case: Case, index: int, order: Tensor | None) -> Keep:  # noqa: ARG002
        stays = ~self.planes(case, index).flatten(1)
        return lambda start, stop: stays[start:stop]


class Planes:
    """`count` regions of an image, as R×H×W planes; subclasses are frozen values."""

    count: ClassVar[int]

    def __call__(self, case: Case, index: int) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Channels:
    """The logits with each of a layer's channels set to zero, and, last, with all of them (K + 1 answers)."""

    layer: str
    per_map: ClassVar[bool] = False


ImageProbe = Blank | Curve | Subsets | Regions
Probe = ImageProbe | Channels
