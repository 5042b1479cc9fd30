"""What a map makes of what surrounds the picture: the network's padding, and an empty canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor
from torch.nn import functional as F

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.causes import Padded
from camfaith.metrics.localisation import share_in
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.probes import OneImage, Subject
from camfaith.metrics.probing.redrawn import Explained, as_meant, before_and_after
from camfaith.metrics.similarity import mass_moved, spearman
from camfaith.models.inside.padding import Border
from camfaith.models.maps import upsample


@dataclass(frozen=True, kw_only=True)
class PaddingSwap(Metric):
    """How much a method's map changes when the network pads its activations by a `border` and not by zeros (own
    definition): by their mirror image (`reflect`), or by the outermost ones (`replicate`). The maps are those after the
    method's ReLU, where it has one, on their own grid. Columns:

    - `delta`: the share of the map's mass that lies elsewhere then, ½ Σ|M/Σ|M| − M'/Σ|M'||, in [0, 1]
    - `spearman`: the rank correlation of both maps, in [−1, 1]
    - `probability`: that of the class in the network with the other border; where it falls far, the network is shown
      what it does not know, and its map says little

    They describe: a map may show padding that the network does not use, or a network trained with zeros may use them,
    and then its map rightly changes. It cannot tell the one from the other. It asks what `corner-causes` asks.
    """

    border: Border = "reflect"
    name = "padding-swap"
    main = "delta"
    better = {}
    range = {"delta": (0, 1), "spearman": (-1, 1), "probability": (0, 1)}
    undefined = "a map is zero; spearman: a map is constant; probability: the network gives none"

    @property
    def _padded(self) -> Padded:
        return Padded(self.border)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._padded,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self._padded]
        before, after = before_and_after(maps, answer.explanations)
        return {
            "delta": mass_moved(before, after[:, 0]),
            "spearman": spearman(before, after[:, 0]),
            "probability": answer.of("probability")[:, 0],
        }


@dataclass(frozen=True)
class Canvas(OneImage, Explained):
    """The image made smaller, in the middle of its baseline: a band of `width` of each side is left on all sides."""

    width: float
    baseline: Baseline

    def inside(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns that hold the picture, at least one; the band has at least one beside more than two."""
        rows, columns = (min(max(1, round(self.width * side)), (side - 1) // 2) for side in size)
        return slice(rows, size[0] - rows), slice(columns, size[1] - columns)

    def band(self, size: tuple[int, int]) -> Tensor:
        """Where the canvas is seen (H×W, bool)."""
        band = torch.ones(size, dtype=torch.bool)
        band[self.inside(size)] = False
        return band

    def altered(self, subject: Subject) -> Tensor:
        canvas = subject.blank(self.baseline).clone()
        held = canvas[:, *self.inside(subject.case.size)]
        exact = subject.image[None].to(torch.promote_types(canvas.dtype, torch.float32))  # half precision cannot do it
        held.copy_(F.interpolate(exact, held.shape[1:], mode="bilinear", antialias=True)[0])
        return canvas


@dataclass(frozen=True, kw_only=True)
class CanvasLeakage(Metric):
    """How much of a method's map lies on an empty canvas around the picture (own definition). The image is made
    smaller, so that a band of `width` of each side is left around it, which the `baseline` fills: one colour, as `mean`
    or `black`. The method explains this image, for the same class; the map is that after its ReLU, where it has one, at
    the image's size. Columns:

    - `mass`: the share of the sum of its absolute values that lies on the canvas, in [0, 1], lower is better
    - `excess`: `mass` minus the canvas's share of the area, in [−1, 1], lower is better; 0 for a constant map
    - `probability`: that of the class on the canvas; where it falls far, the network does not know the picture so, and
      its map says little

    A coarse map leaks by a cell's width, since cells straddle the edge. It judges the maps that the method makes, and
    not the map given. It cannot tell whether the network itself uses the canvas. The control `oracle` shows the mask of
    the image as it was: its value says nothing.
    """

    width: Annotated[float, Gt(0), Lt(0.5)] = 0.125
    baseline: Any = "mean"
    name = "canvas-leakage"
    main = "mass"
    better = {"mass": "lower", "excess": "lower"}
    range = {"mass": (0, 1), "excess": (-1, 1), "probability": (0, 1)}
    undefined = "the map of the picture on the canvas is zero; probability: the network gives none"
    exempt = dict.fromkeys(("direction", "opposite-map"), "it judges a map of the method's own, not the map given")

    @property
    def _canvas(self) -> Canvas:
        return Canvas(self.width, self.baseline)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._canvas,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer, band = answers[self._canvas], self._canvas.band(case.size)
        mass = share_in(upsample(as_meant(maps, answer.explanations[:, 0]), case.size).abs(), band)
        return {
            "mass": mass,
            "excess": mass - band.double().mean(),
            "probability": answer.of("probability")[:, 0],
        }
