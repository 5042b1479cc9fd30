"""Stability: how much a map changes when invisible noise is added to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.probes import Fill, Subject
from camfaith.metrics.probing.redrawn import Explained, as_meant
from camfaith.models.settings import Count, Positive, Seed


def max_sensitivity(before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """How far a map moves when its image does, ‖Φ(y) − Φ(x)‖/‖Φ(x)‖ (Yeh et al. 2019), for the maps Φ(x) (B×h×w) and
    those of n neighbours Φ(y) (B×n×h×w). Columns of B values in [0, ∞), lower is better, NaN where Φ(x) is zero:

    - `max`: its maximum over the neighbours
    - `avg`: its mean over them

    Raises `ValueError` for maps of different sizes.

    >>> found = max_sensitivity(torch.tensor([[[3, 4]]]), torch.tensor([[[[3, 4]], [[0, 0]]]]))
    >>> {name: value.item() for name, value in found.items()}
    {'max': 1.0, 'avg': 0.5}
    """
    require_one_grid(before, after)
    before, after = before.double().flatten(1), after.double().flatten(2)
    moved = quotient((after - before[:, None]).norm(dim=2), before.norm(dim=1, keepdim=True), least=0)
    return {"max": moved.amax(1), "avg": moved.mean(1)}


def require_one_grid(maps: Tensor, others: Tensor) -> None:
    """`ValueError` where maps and others (…×h×w each) are of different sizes."""
    if maps.shape[-2:] != others.shape[-2:]:
        got, made = ("×".join(map(str, each.shape[-2:])) for each in (maps, others))
        raise ValueError(f"maps of {got} cannot be compared with the method's of {made}: give its raw maps")


@dataclass(frozen=True)
class Neighbours(Explained):
    """`samples` images y = x + δ to be explained anew, δ uniform in [−r, r] for every pixel and colour.

    δ is the same for all images and methods; y is not clipped to [0, 1].
    """

    samples: int
    radius: float
    seed: int = 0

    def count(self, pixels: int) -> int:
        return self.samples

    def fill(self, subject: Subject) -> Fill:
        image = subject.image
        moves = _drawn(self, image.shape, image.dtype, image.device)

        def fill(start: int, stop: int, out: Tensor) -> None:
            torch.add(image, moves[start:stop], out=out)

        return fill


@lru_cache(maxsize=4)
def _drawn(of: Neighbours, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    source = torch.Generator().manual_seed(of.seed)
    return (of.radius * (2 * torch.rand(of.samples, *shape, generator=source) - 1)).to(device, dtype)


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Metric):
    """The largest change of a map under small changes of the image, relative to the map (Yeh et al. 2019).

    The map is the raw one on its own grid (after the method's ReLU, where it has one), and its size, as that of a
    change, the root of the sum of squares. Each of `samples` images y is within `radius` of x in every pixel and
    colour, in units of the image in [0, 1], drawn from `seed`. Columns, in [0, ∞), lower is better:

    - `max`: the largest over the samples, as Yeh et al.'s code and captum's `sensitivity_max` have it
    - `avg`: the mean over the samples

    The maximum over samples is only a lower bound of the maximum over the ball, and rises with `samples`. The class
    stays the same, whatever the network predicts for y, and a method's random choices keep their seed. A map that
    ignores the image is perfectly stable: read this beside a metric of faithfulness, and the controls.
    """

    radius: Positive = 0.02
    samples: Count = 10
    seed: Seed = 0
    name = "max-sensitivity"
    main = "max"
    better = {"max": "lower", "avg": "lower"}
    range = {"max": (0, inf), "avg": (0, inf)}
    undefined = "the map is zero: no change can be measured by its size"

    @property
    def _neighbours(self) -> Neighbours:
        return Neighbours(self.samples, self.radius, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._neighbours,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        before, after = maps.raw, answers[self._neighbours].explanations
        return max_sensitivity(as_meant(maps, before), as_meant(maps, after))
