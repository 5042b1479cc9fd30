"""Input invariance: whether a map stays when image and network are shifted against each other, and nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.probes import OneImage, Subject
from camfaith.metrics.probing.redrawn import Explained, as_meant
from camfaith.metrics.stability import relative_moves
from camfaith.models.classifier import Classifier
from camfaith.models.inside.shifted_input import compensating
from camfaith.models.settings import Positive

SAME = 1e-3
"""How far the shifted network's logits may be from the image's, over the greatest of these, and a map from itself, by
rounding."""


def input_invariance(maps: Tensor, shifted: Tensor) -> Tensor:
    """‖Φ(x + c) − Φ(x)‖/‖Φ(x)‖ (after Kindermans et al. 2019), for the maps Φ(x) of a network and Φ(x + c) of one whose
    first bias takes the constant c away (B×h×w each). B values in [0, ∞), lower is better, 0 is exact; NaN where Φ(x)
    is zero. `ValueError` for maps of different sizes.

    >>> input_invariance(torch.tensor([[[3, 4]]]), torch.tensor([[[3, 0]]])).item()
    0.8
    """
    return relative_moves(maps, shifted[:, None])[:, 0]


@dataclass(frozen=True)
class Darkened(OneImage, Explained):
    """The image, `shift` darker in every pixel and colour, in a network that makes the same of it as before."""

    shift: float
    all_logits = True

    def altered(self, subject: Subject) -> Tensor:
        return subject.image - self.shift

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:
        return compensating(classifier, -self.shift)


@dataclass(frozen=True, kw_only=True)
class InputInvariance(Metric):
    """Whether a map stays the same when a constant is added to the image and taken away again in the network
    (Kindermans et al. 2019).

    The image becomes `shift` darker in every pixel and colour; by 1, as in the paper, it lies in [−1, 0]. The bias
    of the network's first convolution compensates that, also where it pads, so that all later layers see what they saw.
    The map Φ is the raw one on its own grid, after the method's ReLU, where it has one. One column:

    - `change`: ‖Φ(x + c) − Φ(x)‖/‖Φ(x)‖, in [0, ∞), lower is better. Up to 10⁻³ it may be rounding, and is 0

    The map of a method that multiplies by the image, or compares it with a reference such as black, changes: so do
    those of ScoreCAM and its kin, which darken the image. It cannot tell a faithful map from any other that reads later
    layers alone, as gradient-based class activation maps do. The value is undefined where the shifted network's logits
    are not those of the image (to 10⁻³ of the greatest): then something before the first convolution is neither the
    classifier's normalisation nor padding.
    """

    shift: Positive = 1.0
    name = "input-invariance"
    main = "change"
    better = {"change": "lower"}
    range = {"change": (0, inf)}
    undefined = "the map is zero, or the network's first convolution cannot take up the shift"
    exempt = {
        "direction": "it compares a method's maps with each other, not with a truth",
        "opposite-map": "a map and its opposite are equally far from one that the shift makes another altogether",
    }

    @property
    def _darkened(self) -> Darkened:
        return Darkened(self.shift)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._darkened,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self._darkened]
        assert answer.logits is not None
        change = input_invariance(as_meant(maps, maps.raw), as_meant(maps, answer.explanations[:, 0]))
        off = (answer.logits[:, 0] - case.logits).abs().amax(1) / case.logits.abs().amax(1)
        return {"change": change.where(~(change <= SAME), 0).where(off <= SAME, torch.nan)}
