"""Coherency: whether a method, shown only what its map shows, explains the class by the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.masking import Masked
from camfaith.metrics.probing.redrawn import Explained
from camfaith.metrics.similarity import pearson
from camfaith.models.maps import normalise, rectify, upsample


def coherency(maps: Tensor, again: Tensor) -> Tensor:
    """How alike a method's maps of an image and of what its map shows are (Poppi et al. 2021): ρ(M̂(x), M̂(x ⊙ M̂(x))),
    Pearson's correlation over the pixels of the two display maps (B×H×W each). B values in [−1, 1], higher is better;
    the authors give (ρ + 1)/2. NaN where either map is constant.

    >>> coherency(torch.tensor([[[0, 0.5], [0.5, 1]]]), torch.tensor([[[0, 1.0], [0, 1.0]]]))
    tensor([0.7071], dtype=torch.float64)
    """
    return pearson(maps.flatten(1), again.flatten(1))


@dataclass(frozen=True)
class MaskedAgain(Masked, Explained):
    """The image times its heat map, x ⊙ M̂, to be explained anew."""


@dataclass(frozen=True, kw_only=True)
class Coherency(Metric):
    """Whether a method, shown the image times its own heat map, draws the same map again (Poppi et al. 2021). One
    column:

    - `coherency`: the correlation of the two display maps over the pixels, of the same class, in [−1, 1], higher is
      better. The authors bring it to [0, 1], and give 0 for a map with NaN

    It prefers blurred maps, and a map that ignores the image is perfectly coherent: read this beside average drop, and
    the controls.
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
