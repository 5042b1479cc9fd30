"""Stability: how much a map changes when invisible noise is added to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.case import PerImage
from camfaith.metrics.probing.drawing import drawn_for_samples
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
    moved = relative_moves(before, after)
    return {"max": moved.amax(1), "avg": moved.mean(1)}


def local_lipschitz(before: Tensor, after: Tensor, distances: Tensor) -> Tensor:
    """max_y ‖Φ(y) − Φ(x)‖/(‖Φ(x)‖·‖y − x‖): how fast a map moves with its image (after Alvarez-Melis & Jaakkola 2018),
    for the maps Φ(x) (B×h×w) and those of n neighbours Φ(y) (B×n×h×w), at the `distances` ‖y − x‖ (B×n). B values in
    [0, ∞), lower is better; NaN where Φ(x) or a distance is zero. The authors' constant is ‖Φ(x)‖ times this.

    Raises `ValueError` for maps of different sizes.

    >>> after = torch.tensor([[[[3, 4]], [[0, 0]]]])
    >>> local_lipschitz(torch.tensor([[[3, 4]]]), after, torch.tensor([[1, 2]])).item()
    0.5
    """
    return quotient(relative_moves(before, after), distances.double(), least=0).amax(1)


def relative_moves(before: Tensor, after: Tensor) -> Tensor:
    """‖Φ(y) − Φ(x)‖/‖Φ(x)‖ (B×n), NaN where Φ(x) is zero."""
    require_one_grid(before, after)
    before, after = before.double().flatten(1), after.double().flatten(2)
    return quotient((after - before[:, None]).norm(dim=2), before.norm(dim=1, keepdim=True), least=0)


def require_one_grid(maps: Tensor, others: Tensor) -> None:
    """`ValueError` where maps and others (…×h×w each) are of different sizes."""
    if maps.shape[-2:] != others.shape[-2:]:
        got, made = ("×".join(map(str, each.shape[-2:])) for each in (maps, others))
        raise ValueError(f"maps of {got} cannot be compared with the method's of {made}: give its raw maps")


@dataclass(frozen=True)
class Nearby(Explained):
    """`samples` images y = x + δ to be explained anew; a subclass draws δ, by `moves`. y is not clipped to [0, 1]."""

    samples: int

    def count(self, pixels: int) -> int:
        return self.samples

    def moves(self, image: Tensor, of_image: int, samples: range) -> Tensor:
        """δ of some samples (n×3×H×W) for an image (3×H×W) with its seed."""
        raise NotImplementedError

    def fill(self, subject: Subject) -> Fill:
        image = subject.image

        def fill(start: int, stop: int, out: Tensor) -> None:
            torch.add(image, self.moves(image, subject.seed, range(start, stop)), out=out)

        return fill


@dataclass(frozen=True)
class Neighbours(Nearby):
    """Nearby images, with δ uniform in [−r, r] for every pixel and colour, and all logits of them.

    δ is drawn anew for each image, from its seed and `seed`, and is the same for all methods.
    """

    radius: float
    seed: int = 0
    all_logits = True

    def moves(self, image: Tensor, of_image: int, samples: range) -> Tensor:
        return self.radius * (2 * drawn_for_samples(torch.rand, image, of_image, self.seed, samples) - 1)


@dataclass(frozen=True)
class Distances(PerImage):
    """How far an image's neighbours are from it (n): ‖y − x‖, or ‖(y − x)/x‖ value by value, zeros as `least`."""

    neighbours: Neighbours
    least: float | None = None

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        unit = 1.0 if self.least is None else image.double().where(image != 0, self.least)
        moves = (self.neighbours.moves(image, seed, range(n, n + 1))[0] for n in range(self.neighbours.samples))
        return torch.stack([(move.double() / unit).norm() for move in moves])


@dataclass(frozen=True, kw_only=True)
class OfNeighbours(Metric):
    """What a metric of an image's neighbours is set by."""

    radius: Positive = 0.02
    samples: Count = 10
    seed: Seed = 0

    @property
    def neighbours(self) -> Neighbours:
        return Neighbours(self.samples, self.radius, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self.neighbours,)

    def maps_of(self, maps: Maps, answers: Answers) -> tuple[Tensor, Tensor]:
        """Φ(x) (B×h×w) and Φ(y) (B×n×h×w), after the method's ReLU, where it has one."""
        return as_meant(maps, maps.raw), as_meant(maps, answers[self.neighbours].explanations)


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(OfNeighbours):
    """The largest change of a map under small changes of the image, relative to the map (Yeh et al. 2019).

    The map is the raw one on its own grid (after the method's ReLU, where it has one), and its size, as that of a
    change, the root of the sum of squares. Each of `samples` images y is within `radius` of x in every pixel and
    colour, in units of the image in [0, 1], drawn anew for each image from its seed and `seed`. Columns, in [0, ∞),
    lower is better:

    - `max`: the largest over the samples, as Yeh et al.'s code and captum's `sensitivity_max` have it
    - `avg`: the mean over the samples

    The maximum over samples is only a lower bound of the maximum over the ball, and rises with `samples`. The class
    stays the same, whatever the network predicts for y, and a method's random choices keep their seed. It cannot tell a
    faithful map from one that ignores the image, which is perfectly stable: read this beside a metric of faithfulness,
    and the controls.
    """

    name = "max-sensitivity"
    version = 2
    main = "max"
    better = {"max": "lower", "avg": "lower"}
    range = {"max": (0, inf), "avg": (0, inf)}
    undefined = "the map is zero: no change can be measured by its size"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return max_sensitivity(*self.maps_of(maps, answers))


@dataclass(frozen=True, kw_only=True)
class LocalLipschitz(OfNeighbours):
    """How fast a map changes with the image: the local Lipschitz constant (after Alvarez-Melis & Jaakkola 2018).

    The neighbours y are those of `max-sensitivity`: `samples` of them, within `radius` in every pixel and colour, drawn
    from the image's seed and `seed`. One column:

    - `lipschitz`: max_y ‖Φ(y) − Φ(x)‖/(‖Φ(x)‖·‖y − x‖), in [0, ∞), lower is better. The map Φ is the raw one on its own
      grid (after the method's ReLU, where it has one), in units of its own size, since each method has its own; the
      authors' constant is ‖Φ(x)‖ times this

    All neighbours of an image of many pixels are about equally far from it, so this orders methods as `max-sensitivity`
    does. It cannot tell a faithful map from one that ignores the image.
    """

    name = "local-lipschitz"
    main = "lipschitz"
    better = {"lipschitz": "lower"}
    range = {"lipschitz": (0, inf)}
    undefined = "the map is zero: no change can be measured by its size"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        distances = torch.stack(case.once(Distances(self.neighbours)))
        return {"lipschitz": local_lipschitz(*self.maps_of(maps, answers), distances)}
