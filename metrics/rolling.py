"""Rolling the image round: what of a map goes with it, and what stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.probes import Fill, Subject
from camfaith.metrics.probing.redrawn import Explained, before_and_after
from camfaith.metrics.similarity import pearson
from camfaith.models.maps import upsample
from camfaith.models.settings import Count


def shift_residual(
    maps: Tensor, rolled: Tensor, rolls: Sequence[tuple[int, int]], size: tuple[int, int]
) -> dict[str, Tensor]:
    """Whether maps go with an image that is rolled round (own definition): M(x) (B×h×w) and M(T x) (B×|T|×h×w), where T
    rolls the image of H×W pixels (`size`) by `rolls`, so many pixels down and to the right. Maps are rolled by cells
    where these are whole, else at the image's size. With r(a, b) Pearson's correlation of two maps, columns of B
    values, means over T; NaN where a map is constant:

    - `residual`: 1 − max(0, r(M(T x), T M(x)))², the share of the new map's variance that the old one, rolled alike,
      does not explain, in [0, 1], lower is better
    - `stays`: r(M(T x), M(x)), in [−1, 1], which describes

    >>> maps = torch.tensor([[[5.0, 1, 0, 0]]])
    >>> found = shift_residual(maps, maps[:, None], [(0, 4)], (2, 8))  # a map that stays where it is
    >>> {name: round(value.item(), 2) for name, value in found.items()}
    {'residual': 1.0, 'stays': 1.0}
    """
    found = []
    for place, roll in enumerate(rolls):
        before, after = maps, rolled[:, place]
        if any(move * cells % side for move, cells, side in zip(roll, maps.shape[1:], size, strict=True)):
            before, after = upsample(maps, size), upsample(after, size)
        cells = [move * own // side for move, own, side in zip(roll, before.shape[1:], size, strict=True)]
        moves, stays = (
            pearson(each.flatten(1), after.flatten(1)) for each in (before.roll(cells, dims=(1, 2)), before)
        )
        found.append(torch.stack((1 - moves.clamp(0, 1).square(), stays)))
    return dict(zip(("residual", "stays"), torch.stack(found).mean(0), strict=True))


@dataclass(frozen=True)
class Rolled(Explained):
    """The image rolled round by about half of its side, down, to the right, and both, to be explained anew.

    It is rolled by the multiple of `stride` pixels nearest to half of the side, and where the side has not two strides,
    by the greatest power of two within its half.
    """

    stride: int

    def count(self, pixels: int) -> int:
        return 3

    def rolls(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """How far down and to the right each image is rolled, in pixels."""
        down, right = (self._about_half(side) for side in size)
        return [(down, 0), (0, right), (down, right)]

    def _about_half(self, side: int) -> int:
        if side >= 2 * self.stride:
            return self.stride * round(side / 2 / self.stride)
        return 1 << (side // 2).bit_length() >> 1

    def fill(self, subject: Subject) -> Fill:
        def fill(start: int, stop: int, out: Tensor) -> None:
            for place, roll in enumerate(self.rolls(subject.case.size)[start:stop]):
                out[place] = subject.image.roll(roll, dims=(1, 2))

        return fill


@dataclass(frozen=True, kw_only=True)
class ShiftResidual(Metric):
    """Whether a method's map goes with the image when that is rolled round, and what stays where it was (own
    definition). What leaves the image on one side comes in on the other, by about half of the side and by a multiple of
    `stride` pixels, so that the layer's cells see the same; down, to the right, and both. `stride` is that of the
    explained layer, or a multiple: 32 is that of the last layers of most networks. Columns, means over the three:

    - `residual`: the share of the new map's variance that the old one, rolled alike, does not explain, in [0, 1], lower
      is better; 1 − r² by Pearson's correlation r, and 1 where that is negative
    - `stays`: the correlation of the new map with the old one where it was, in [−1, 1]; a pattern that is laid over
      every map has it near 1. It describes: a picture may be like itself rolled

    The map is that after the method's ReLU, where it has one. The class stays the same, and a method's random choices
    keep their seed. A network that pads with zeros does not go along wholly, and sees a seam where the picture's edges
    meet. It cannot tell how much of the residual is the network's: read it beside `padding-swap`. The control `oracle`
    shows the mask of the image as it was: its value says nothing.
    """

    stride: Count = 32
    name = "shift-residual"
    main = "residual"
    better = {"residual": "lower"}
    range = {"residual": (0, 1), "stays": (-1, 1)}
    undefined = "a map is constant"

    @property
    def _rolled(self) -> Rolled:
        return Rolled(self.stride)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._rolled,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        before, after = before_and_after(maps, answers[self._rolled].explanations)
        return shift_residual(before, after, self._rolled.rolls(case.size), case.size)
