"""Equivariance: whether a map moves with the image, and turns with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.probes import Fill, OneImage, Subject
from camfaith.metrics.probing.redrawn import Explained, enlarged
from camfaith.metrics.similarity import WINDOW, spearman, ssim, top_k


def shift_equivariance(maps: Tensor, moved: Tensor, shifts: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
    """1/|T| Σ_T s(T⁻¹ M(T x), M(x)): how alike a map and those of the shifted image are, on the area that they have in
    common, for maps M(x) (B×H×W) and M(T x) (B×|T|×H×W), x shifted by `shifts`, so many pixels down and to the right
    (after Crabbé & van der Schaar 2023). Columns of B values, 1 where the map moves with the image, higher is better:

    - `spearman` and `ssim`: s is `spearman`, or `ssim`, in [−1, 1]. `ssim` is NaN where less than its window is in
      common
    - `top_k`: s is `top_k`, in [0, 1]

    >>> maps = torch.rand(1, 20, 20)
    >>> moved = torch.stack([maps.roll((2, -1), dims=(1, 2))], 1)
    >>> {name: round(value.item(), 6) for name, value in shift_equivariance(maps, moved, [(2, -1)]).items()}
    {'spearman': 1.0, 'ssim': 1.0, 'top_k': 1.0}
    """
    pairs = [
        (_common(maps, -down, -right), _common(moved[:, place], down, right))
        for place, (down, right) in enumerate(shifts)
    ]
    found = [_likeness(here, there) for here, there in pairs]
    return {name: torch.stack([each[name] for each in found]).mean(0) for name in found[0]}


def flip_equivariance(maps: Tensor, flipped: Tensor) -> dict[str, Tensor]:
    """s(F M(F x), M(x)): how alike a map and that of the image in a mirror are once this is mirrored back, for maps
    M(x) and M(F x) (B×H×W each), F left to right (after Crabbé & van der Schaar 2023). Columns as of
    `shift_equivariance`, 1 where the map turns with the image, higher is better.

    >>> maps = torch.rand(1, 20, 20)
    >>> {name: round(value.item(), 6) for name, value in flip_equivariance(maps, maps.flip(2)).items()}
    {'spearman': 1.0, 'ssim': 1.0, 'top_k': 1.0}
    """
    return _likeness(maps, flipped.flip(2))


def _likeness(here: Tensor, there: Tensor) -> dict[str, Tensor]:
    return {"spearman": spearman(here, there), "ssim": ssim(here, there), "top_k": top_k(here, there)}


def _common(maps: Tensor, down: int, right: int) -> Tensor:
    """Without the first `down` rows and `right` columns, or the last ones where these are negative."""
    rows, columns = (slice(max(0, move), min(0, move) or None) for move in (down, right))
    return maps[:, rows, columns]


@dataclass(frozen=True)
class Shifted(Explained):
    """The image shifted along its four diagonals, by `shift` of each side and at least one pixel, to be explained anew.

    What comes in at an edge repeats the pixels of that edge.
    """

    shift: float

    def count(self, pixels: int) -> int:
        return 4

    def offsets(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """How far down and to the right each image is shifted, in pixels."""
        down, right = (max(1, round(self.shift * side)) for side in size)
        return [(down, right), (down, -right), (-down, right), (-down, -right)]

    def fill(self, subject: Subject) -> Fill:
        image, (height, width) = subject.image, subject.case.size
        rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)

        def fill(start: int, stop: int, out: Tensor) -> None:
            for place, (down, right) in enumerate(self.offsets((height, width))[start:stop]):
                from_row, from_column = (rows - down).clamp(0, height - 1), (columns - right).clamp(0, width - 1)
                out[place] = image[:, from_row[:, None], from_column]

        return fill


@dataclass(frozen=True, kw_only=True)
class ShiftEquivariance(Metric):
    """How alike a method's map is to itself when the image is shifted a little (after Crabbé & van der Schaar 2023).

    The shifts go along the four diagonals, by `shift` of each side (at least one pixel, edges repeated). The map is
    that after the method's ReLU, where it has one, at the image's size; it is shifted back and compared where both have
    pixels. Columns, means over the shifts, 1 where the map moves with the image exactly, higher is better:

    - `spearman`: Spearman's rank correlation, in [−1, 1]
    - `ssim`: the structural similarity of the maps stretched to [0, 1], in [−1, 1] (Wang et al. 2004)
    - `top_k`: intersection over union of the highest tenth of the pixels, in [0, 1]

    It is a yardstick for two methods: if their maps of an image are as alike as one method's maps of the image and of
    the shifted image, nothing tells them apart. The class stays the same, and a method's random choices keep their
    seed. A smooth map that ignores the image is hardly moved by a small shift: read this beside the controls, but for
    `oracle`, which shows the mask of the image as it was.
    """

    shift: Annotated[float, Gt(0), Lt(0.5)] = 0.03
    name = "shift-equivariance"
    main = "spearman"
    better = {"spearman": "higher", "ssim": "higher", "top_k": "higher"}
    range = {"spearman": (-1, 1), "ssim": (-1, 1), "top_k": (0, 1)}
    undefined = f"a map is constant; ssim: the common area is smaller than {WINDOW}×{WINDOW} pixels"

    @property
    def _shifted(self) -> Shifted:
        return Shifted(self.shift)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._shifted,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        before, moved = enlarged(maps, answers[self._shifted].explanations)
        return shift_equivariance(before, moved, self._shifted.offsets(case.size))


@dataclass(frozen=True)
class Flipped(OneImage, Explained):
    """The image in a mirror, left to right, to be explained anew."""

    def altered(self, subject: Subject) -> Tensor:
        return subject.image.flip(2)


@dataclass(frozen=True, kw_only=True)
class FlipEquivariance(Metric):
    """How alike a method's map is to itself when the image is mirrored, left to right (after Crabbé & van der Schaar
    2023).

    The map is that after the method's ReLU, where it has one, at the image's size; that of the mirrored image is
    mirrored back. Columns, the first three as in `shift-equivariance`, 1 where the map turns with the image exactly,
    higher is better:

    - `spearman`: Spearman's rank correlation, in [−1, 1]
    - `ssim`: the structural similarity of the maps stretched to [0, 1], in [−1, 1] (Wang et al. 2004)
    - `top_k`: intersection over union of the highest tenth of the pixels, in [0, 1]
    - `probability`: that of the class for the mirrored image, NaN where the head gives none, which describes

    A map owes this only as far as the network does, and no usual network is equivariant: strides and learned kernels
    prefer a side, so a faithful map may be below 1. It cannot tell a faithful map from a symmetric one that ignores the
    image: read this beside the controls, but for `oracle`, which shows the mask of the image as it was.
    """

    name = "flip-equivariance"
    main = "spearman"
    better = {"spearman": "higher", "ssim": "higher", "top_k": "higher"}
    range = {"spearman": (-1, 1), "ssim": (-1, 1), "top_k": (0, 1), "probability": (0, 1)}
    undefined = (
        f"a map is constant; ssim: the image is smaller than {WINDOW}×{WINDOW} pixels; probability: there is none"
    )

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (Flipped(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[Flipped()]
        before, flipped = enlarged(maps, answer.explanations)
        return flip_equivariance(before, flipped[:, 0]) | {"probability": answer.of("probability")[:, 0]}
