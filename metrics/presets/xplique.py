"""`xplique`: fidelity metrics of xplique 2.0 (Fel et al. 2022) with their defaults, given images as the network takes
them.

Equal to the library for maps without equal values. It sorts by numpy's quicksort, whose order of equal values is not
defined; here they leave from the last, bottom right, to the first, which is what a stable sort gives there. Its default
operator is the output itself: the logit for a network that ends in logits. Deletion and insertion there give the area
under the mean curve of all images; here each image has its own, with the same mean. Its masks are drawn by TensorFlow,
anew for each batch of images; here from `seed`, the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Probe
from camfaith.metrics.presets.curves import OrderedCurve
from camfaith.metrics.presets.protocol import Protocol, Shown, covered, replacement, stretched
from camfaith.metrics.probing.baselines import Black
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.metrics.similarity import spearman
from camfaith.models.settings import Seed

STEPS = 10
EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class XpliqueCurve(OrderedCurve):
    """11 points, ⌊iN/10⌋ pixels changed at each; the area is that of equal steps, and the score the logit, which has
    any size. What is removed is 0 after normalisation, the network's mean colour."""

    last = True
    output = "logit"
    needs_probability = False
    range = {"auc": (-inf, inf)}

    def counts(self, pixels: int) -> tuple[int, ...]:
        return tuple(np.linspace(0, pixels, STEPS + 1, dtype=np.int32).tolist())


@dataclass(frozen=True, kw_only=True)
class Deletion(XpliqueCurve):
    """`Deletion`: the area while the most relevant pixels leave; in (−∞, ∞), lower is better (after Petsiuk et al.
    2018)."""

    name = "deletion"
    better = {"auc": "lower"}
    kept = "rest"


@dataclass(frozen=True, kw_only=True)
class Insertion(XpliqueCurve):
    """`Insertion`: the area while the most relevant pixels enter; in (−∞, ∞), higher is better (after Petsiuk et al.
    2018)."""

    name = "insertion"
    better = {"auc": "higher"}
    kept = "top"


@dataclass(frozen=True)
class RandomCells(ImageProbe):
    """The image with random cells of a 9×9 grid at 0 after normalisation: each by chance, `share` of them on average,
    the same for all images."""

    samples: int
    share: float
    seed: int
    grid: int = 9

    def count(self, pixels: int) -> int:
        return self.samples

    def removed(self, size: tuple[int, int]) -> Tensor:
        """Which pixels those are (samples×H×W, bool)."""
        source = torch.Generator().manual_seed(self.seed)
        cells = torch.rand(self.samples, self.grid, self.grid, generator=source) <= self.share
        rows, columns = ((torch.arange(length) + 0.5) * self.grid / length for length in size)
        return cells[:, rows.long()][:, :, columns.long()]

    def fill(self, subject: Subject) -> Fill:
        removed = self.removed(subject.case.size).to(subject.image.device)[:, None]
        return covered(subject, replacement(subject, Black()), lambda start, stop: removed[start:stop])


@dataclass(frozen=True, kw_only=True)
class MuFidelity(Protocol):
    """`MuFidelity`: Spearman's correlation, over 200 random sets of the cells of a 9×9 grid, of the map's sum over them
    with what the logit loses without them; in [−1, 1], higher is better, and 0 where either does not vary (after Bhatt
    et al. 2020, who take Pearson's, of pixels). Each cell is in a set by chance, with 0.2: sets differ in size,
    and a constant map has a correlation too. There are `nb_samples` sets, drawn from `seed`."""

    nb_samples: Annotated[int, Ge(3)] = 200
    seed: Seed = 0
    name = "mu-fidelity"
    main = "correlation"
    better = {"correlation": "higher"}
    range = {"correlation": (-1, 1)}

    @property
    def _asked(self) -> RandomCells:
        return RandomCells(self.nb_samples, 0.2, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._asked,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        drops = case.whole("logit")[:, None] - answers[self._asked].of("logit")
        sums = maps.saliency.double().flatten(1) @ self._asked.removed(case.size).flatten(1).double().T
        found = spearman(sums[:, None], drops[:, None])
        unanswered = drops.isnan().any(1)
        return {"correlation": torch.where(unanswered, torch.nan, found.nan_to_num(0.0))}


@dataclass(frozen=True)
class AbsoluteShown(Shown):
    """The image times the absolute map, which is stretched to [0, 1] at the image's size; a constant one is 0."""

    reads = "saliency"

    def mask(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return stretched(maps.abs(), EPS)


@dataclass(frozen=True, kw_only=True)
class AverageDrop(Protocol):
    """`AverageDropMetric`, `AverageIncreaseMetric` and `AverageGainMetric` of the probability: the image after
    normalisation, times the absolute map; what is hidden gets the network's mean colour (after Chattopadhay et al.
    2018; `gain`: Zhang et al. 2024). Columns in [0, 1]:

    - `drop`: max(0, Y − O)/(Y + 10⁻⁸), lower is better
    - `increase`: 1 where O > Y, by rounding too, else 0; higher is better
    - `gain`: max(0, O − Y)/(1 − Y + 10⁻⁸), higher is better
    """

    name = "average-drop"
    main = "drop"
    better = {"drop": "lower", "increase": "higher", "gain": "higher"}
    range = dict.fromkeys(("drop", "increase", "gain"), (0, 1))
    exempt = {
        "scale": "10⁻⁸ is added to the map's range",
        "opposite-map": "the map is taken without its sign",
        "direction": "a map of one place, stretched, may leave the class as it was",
        **dict.fromkeys(
            ("zero-map", "constant-map"), "both leave the network's mean colour, which may well be the class"
        ),
    }
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (AbsoluteShown(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        Y, O = case.whole("probability"), answers[AbsoluteShown()].of("probability")[:, 0]  # noqa: E741
        return {
            "drop": (Y - O).clamp(min=0) / (Y + EPS),
            "increase": (O > Y).double(),
            "gain": (O - Y).clamp(min=0) / (1 - Y + EPS),
        }
