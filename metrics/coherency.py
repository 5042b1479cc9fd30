"""Coherency: whether a method, shown only what its map shows, explains the class by the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from camfaith.metrics.base import Metric
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Probe, Subject
from camfaith.metrics.probing.redrawn import OneImage
from camfaith.metrics.similarity import pearson
from camfaith.models.maps import normalise, rectify, upsample


def coherency(maps: Tensor, again: Tensor) -> Tensor:
    """Pearson's correlation over the pixels (B, in [−1, 1]) of the display maps of x and of x ⊙ M̂ (both B×H×W). NaN
    where either is constant.

    >>> coherency(torch.tensor([[[0, 0.5], [0.5, 1]]]), torch.tensor([[[0, 1.0], [0, 1.0]]]))
    tensor([0.7071], dtype=torch.float64)
    """
    return pearson(maps.flatten(1), again.flatten(1))


@dataclass(frozen=True)
class MaskedAgain(OneImage):
    """The image times its heat map, x ⊙ M̂, to be explained anew."""

    reads = "displayed"

    def altered(self, subject: Subject) -> Tensor:
        return subject.image * subject.read("displayed").to(subject.image)


@dataclass(frozen=True, kw_only=True)
class Coherency(Metric):
    """The correlation of a method's map with its map of the image times that map (Poppi et al. 2021).

    ρ(M̂(x), M̂(x ⊙ M̂(x))), M̂ the display map of the explained class in [0, 1] at the image's size, and ρ Pearson's
    correlation over the pixels. One column:

    - `coherency`: ρ, in [−1, 1], higher is better; the authors give (ρ + 1)/2, in [0, 1], and 0 for a map with NaN

    A map that ignores the image is perfectly coherent: read this beside average drop, and the controls.
    """

    name = "coherency"
    main = "coherency"
    better = {"coherency": "higher"}
    range = {"coherency": (-1, 1)}
    undefined = "a map is constant: it correlates with nothing"

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (MaskedAgain(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        again = answers[MaskedAgain()].explanations[:, 0]
        return {"coherency": coherency(maps.displayed, normalise(upsample(rectify(again), case.size)))}
