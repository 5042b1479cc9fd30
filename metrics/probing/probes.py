"""What a metric wants to know of the model, as values: equal probes are asked once.

A probe says which altered images it wants scored. What it `reads` decides how often: one that reads the image alone is
asked once per image, whatever the number of methods; one that reads an aspect of a map (the ranks of its pixels, or the
map as it is displayed) once for every distinct one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from camfaith.metrics.probing.baselines import Baseline, filling
from camfaith.metrics.probing.case import Case, PerImage
from camfaith.metrics.probing.maps import Aspect, Maps
from camfaith.metrics.probing.ranks import removed_at

Reads = Literal["image"] | Aspect
Fill = Callable[[int, int, Tensor], None]
"""Writes the altered images start to stop of a probe into the rows of a buffer (n×3×H×W)."""
Rounds = Generator[tuple[int, Fill], Tensor, Tensor | None]
"""Yields how many images it wants and their `Fill`, is sent their scores (n×2: logit and log-probability, then all C
logits where the probe wants them), and returns at the end where each of its images lies on the x axis, if that was not
known beforehand."""


@dataclass(frozen=True)
class Subject:
    """One image of a case, the map of it of which a probe may read what it `reads`, and the scores known already."""

    case: Case
    index: int
    reads: Reads
    maps: Maps
    place: int
    known: Callable[[Blank], Tensor]
    """The scores (1×2) of the image's baseline: known from the second round on, if its `Blank` is asked too."""

    @property
    def image(self) -> Tensor:
        return self.case.images[self.index]

    @property
    def seed(self) -> int:
        """What is random of the image is drawn from it."""
        return int(self.case.seeds[self.index])

    def read(self, aspect: Aspect) -> Tensor:
        """That aspect of the map: `ranks` (N, 0 for the most relevant pixel), `displayed` (H×W, in [0, 1]), ..."""
        if aspect != self.reads:
            raise TypeError(f"a probe that reads {aspect!r} must say so: reads = {aspect!r}; got {self.reads!r}")
        every: Tensor = getattr(self.maps, aspect)
        return every[self.place]

    def once(self, value: PerImage) -> Tensor:
        """That value of the image, worked out once for all methods and metrics."""
        return self.case.once_of(value, self.index)

    def blank(self, baseline: Baseline) -> Tensor:
        """The baseline image (3×H×W)."""
        return self.case.replaced(baseline)[self.index]

    def masked(self, baseline: Baseline, keep: Callable[[int, int], Tensor]) -> Fill:
        """The image where `keep(start, stop)` (n×N, bool) is True, the baseline elsewhere."""
        image, size = self.image, self.case.size
        if (filled := filling(baseline, image, self.case.seeds[self.index])) is not None:

            def fill_in(start: int, stop: int, out: Tensor) -> None:
                out.copy_(filled(keep(start, stop).view(-1, *size)))

            return fill_in
        blank = self.blank(baseline)

        def fill(start: int, stop: int, out: Tensor) -> None:
            # x·1 + b·0 and x·0 + b·1 are exact, and twice as fast as a choice between the two
            kept = keep(start, stop).view(-1, 1, *size).to(out.dtype)
            torch.mul(image, kept, out=out).addcmul_(blank, 1 - kept)

        return fill


class ImageProbe:
    """Altered images of one image; subclasses are frozen values with a `count` and a `fill`, or with `rounds`."""

    reads: ClassVar[Reads] = "image"
    all_logits: ClassVar[bool] = False
    """Whether the answer holds the logits of all classes, not the target's alone."""

    def count(self, pixels: int) -> int:
        """How many images it asks for, or the most, where the image or the answers decide."""
        raise NotImplementedError

    def told(self, classes: int) -> int:
        """How many numbers are told of an image: the target's logit and log-probability, all logits if wanted, and how
        far the image has drifted (confidence and distance)."""
        return 4 + self.all_logits * classes

    def fill(self, subject: Subject) -> Fill:
        raise NotImplementedError

    def rounds(self, subject: Subject) -> Rounds:
        """All its images at once; a probe whose questions depend on earlier answers overrides this."""
        fill = self.fill(subject)
        if not callable(fill):
            wanted = "must give a function (start, stop, out); for one image, derive from OneImage and define `altered`"
            raise TypeError(f"{type(self).__name__}.fill {wanted}; got {type(fill).__name__}")
        yield self.count(subject.case.pixels), fill
        return None


class OneImage(ImageProbe):
    """One altered image; subclasses are frozen values that say which, by `altered`."""

    def count(self, pixels: int) -> int:
        return 1

    def altered(self, subject: Subject) -> Tensor:
        """The image (3×H×W); as it is, unless a subclass alters it."""
        return subject.image

    def fill(self, subject: Subject) -> Fill:
        image = self.altered(subject)

        def fill(_start: int, _stop: int, out: Tensor) -> None:
            out.copy_(image.reshape(out.shape))

        return fill


@dataclass(frozen=True)
class Blank(OneImage):
    """The baseline image itself."""

    baseline: Baseline

    def altered(self, subject: Subject) -> Tensor:
        return subject.blank(self.baseline)


@dataclass(frozen=True)
class Curve(ImageProbe):
    """The points between the ends of a curve along the order of a map's pixels.

    At point i of `steps`, the i·N/steps most relevant pixels (rounded up) are removed (`kept="rest"`: deletion,
    most relevant first), or only they are there (`kept="top"`: insertion, which is the least-relevant-first deletion
    read backwards). The ends are the image and the baseline; this probe does not ask for them.
    """

    kept: Literal["rest", "top"]
    steps: int
    baseline: Baseline
    reads = "ranks"

    def count(self, pixels: int) -> int:
        return len(removed_at(self.steps, pixels)) - 2

    def fill(self, subject: Subject) -> Fill:
        removed = removed_at(self.steps, subject.case.pixels, subject.image.device)[1:-1]
        return along(subject, self.kept, removed, self.baseline)


def along(subject: Subject, kept: Literal["rest", "top"], removed: Tensor, baseline: Baseline) -> Fill:
    """The images without the `removed` (n) most relevant pixels, or with only those."""
    order = subject.read("ranks")
    counts = removed.to(order.dtype)[:, None]
    if kept == "rest":
        return subject.masked(baseline, lambda start, stop: order >= counts[start:stop])
    return subject.masked(baseline, lambda start, stop: order < counts[start:stop])


class Planes:
    """`count` regions of an image, as R×H×W planes; subclasses are frozen values."""

    count: ClassVar[int]

    def __call__(self, case: Case, index: int) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Regions(ImageProbe):
    """The image with one region removed at a time; `planes(case, index)` gives them, R×H×W, bool.

    Equal `planes` and `baseline` make equal probes, so `planes` is a frozen value.
    """

    planes: Planes
    baseline: Baseline

    def count(self, pixels: int) -> int:
        return self.planes.count

    def fill(self, subject: Subject) -> Fill:
        stays = ~self.planes(subject.case, subject.index).flatten(1)
        return subject.masked(self.baseline, lambda start, stop: stays[start:stop])


@dataclass(frozen=True)
class Channels:
    """The logits with each of a layer's channels set to zero, and, last, with all of them (K + 1 answers)."""

    layer: str
    reads: ClassVar[Reads] = "image"


Probe = ImageProbe | Channels


def subjects(
    probe: ImageProbe, case: Case, maps: Maps, known: Callable[[int, Blank], Tensor]
) -> Iterator[tuple[Hashable, Subject]]:
    """The images of a case that a method has maps of, each with a key: equal keys ask a probe the same question."""
    for place, index in enumerate(range(len(case)) if maps.rows is None else maps.rows):
        read = "" if probe.reads == "image" else maps.prints(probe.reads)[place]
        yield (index, read), Subject(case, index, probe.reads, maps, place, partial(known, index))
