"""Why a map lies in the corners: what is left of that once a possible cause is taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.localisation import share_in
from camfaith.metrics.probing.probes import OneImage, Subject
from camfaith.metrics.probing.redrawn import Explained, as_meant
from camfaith.models.classifier import Classifier
from camfaith.models.inside.padding import Border, padding_by
from camfaith.models.maps import upsample
from camfaith.models.zones import CELLS, corners

LEAST = 0.25
"""A square inside the content is enlarged at most fourfold; a smaller one would be more blur than picture."""


@dataclass(frozen=True)
class Padded(OneImage, Explained):
    """The image itself, in a network that pads its activations by a border of their own instead of zeros."""

    border: Border

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:
        return padding_by(classifier.network, self.border)


@dataclass(frozen=True)
class Filled(OneImage, Explained):
    """The image with the mean colour of its content outside of that; without a content mask its four corner cells have
    the mean colour of the rest."""

    cells: int

    def altered(self, subject: Subject) -> Tensor:
        image, content = subject.image, subject.case.content(subject.index)
        if content is None:
            content = ~corners(*subject.case.size, self.cells).to(image.device)
        colour = image[:, content].mean(1)
        return torch.where(content, image, colour[:, None, None])


@dataclass(frozen=True)
class Cropped(OneImage, Explained):
    """The largest box inside the content, of the image's proportions and with the content's centre, enlarged to the
    image's size; the image itself where there is none (`box_inside`)."""

    def altered(self, subject: Subject) -> Tensor:
        image, content = subject.image, subject.case.content(subject.index)
        box = None if content is None else box_inside(content)
        if box is None:
            return image
        return F.interpolate(image[None, :, *box], size=subject.case.size, mode="bilinear", align_corners=False)[0]


def box_inside(content: Tensor) -> tuple[slice, slice] | None:
    """The rows and columns of the largest box of the plane's proportions (to a pixel) that lies in the content whole,
    around the middle of its bounding box; None where its sides are less than a quarter (`LEAST`) of the plane's."""
    size = content.shape
    middle = [(int(at.min()) + int(at.max()) + 1) / 2 for at in content.nonzero(as_tuple=True)]
    for share in range(size[0], math.ceil(LEAST * size[0]) - 1, -1):
        reach = [share * side / size[0] / 2 for side in size]
        rows, columns = (slice(math.ceil(m - r), math.floor(m + r)) for m, r in zip(middle, reach, strict=True))
        inside = min(rows.start, columns.start) >= 0 and rows.stop <= size[0] and columns.stop <= size[1]
        if inside and bool(content[rows, columns].all()):
            return rows, columns
    return None


@dataclass(frozen=True, kw_only=True)
class CornerCauses(Metric):
    """How much of a map lies in the corners and outside the content, and how much is left of that without a cause (own
    definition).

    With M the saliency map at the image's size, and R the four corner cells of a `cells`×`cells` grid: `share` =
    Σ_R|M| / Σ|M|, in [0, 1], as in `corner-artifact`; `outside` is the same for all that is outside the content mask.
    The method explains the same class once more, each time for the same pixels R:

    - `share_reflect`, `share_replicate`, and `outside_…`: the network pads its activations not by zeros, but by their
      mirror image, or by the outermost again
    - `share_filled`, `outside_filled`: what lies outside the content has its mean colour; without a content mask, the
      corners have the mean colour of the rest
    - `share_cropped`: the largest box inside the content is the image; of a disc of the image's size, 0.71 of each
      side. Then the corners hold content too

    What a cause explains of a map's corners is `share` minus that column, and of the difference between two methods,
    the change of the difference. `probability`, and the same after each intervention, is that of the class: where it
    falls far, the network was shown what it does not know, or evidence was taken away, and its map says little. None of
    the columns is better high or low.

    `outside…` and `…_cropped` are undefined without a content mask, `…_cropped` also where no box of a quarter of the
    image's sides fits in; shares of a zero map; probabilities where the head gives none.
    """

    cells: Annotated[int, Ge(3)] = CELLS
    name = "corner-causes"
    main = "share"
    better = {}
    range = {
        column + cause: (0, 1)
        for column in ("share", "outside", "probability")
        for cause in ("", "_reflect", "_replicate", "_filled", "_cropped")
        if column + cause != "outside_cropped"
    }
    undefined = "the map is zero, or there is no content mask (with a box inside it), or no probability"

    @property
    def _probes(self) -> dict[str, OneImage]:
        return {
            "_reflect": Padded("reflect"),
            "_replicate": Padded("replicate"),
            "_filled": Filled(self.cells),
            "_cropped": Cropped(),
        }

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return tuple(self._probes.values())

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        contents = [case.content(index) for index in range(len(case))]
        boxes = torch.tensor([content is not None and box_inside(content) is not None for content in contents])
        corner = corners(*case.size, self.cells).expand(len(case), -1, -1)
        outside = torch.stack([torch.zeros_like(corner[0]) if content is None else ~content for content in contents])
        drawn, probability = {"": maps.raw}, {"": case.whole("probability")}
        for key, probe in self._probes.items():
            drawn[key], probability[key] = answers[probe].explanations[:, 0], answers[probe].of("probability")[:, 0]
        columns: dict[str, Tensor] = {}
        for key, raw in drawn.items():
            mass = upsample(as_meant(maps, raw), case.size).abs()
            columns |= {f"share{key}": share_in(mass, corner), f"outside{key}": share_in(mass, outside)}
            columns[f"probability{key}"] = probability[key]
        del columns["outside_cropped"]  # a crop has no outside
        for column in ("share_cropped", "probability_cropped"):
            columns[column] = torch.where(boxes, columns[column], torch.nan)
        return columns
