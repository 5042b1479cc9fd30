"""IROF: what of the class's probability goes with the superpixels that a map ranks highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.curves import auc
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.features import Superpixels
from camfaith.metrics.probing.segments import WithoutSegments
from camfaith.models.settings import Few
from camfaith.models.superpixels import require


def irof(scores: Tensor, removed: Tensor) -> Tensor:
    """The area over the curve as superpixels leave, the most relevant first: 1 − ∫ f(x^l)/f(x⁰) ds by trapezoids (B).
    `scores` are f(x⁰), …, f(x^L), and `removed` the shares s of the superpixels that left, from 0 to 1 (both B×(L+1));
    a point that stands there twice counts once. At most 1, higher is better (Rieger & Hansen 2020). NaN where f(x⁰) =
    0.

    >>> irof(torch.tensor([[0.8, 0.4, 0.0]]), torch.tensor([[0, 0.5, 1]]))
    tensor([0.5000], dtype=torch.float64)
    """
    return 1 - quotient(auc(scores, removed), scores[:, 0].double())


def class_kept(logits: Tensor, targets: Tensor, removed: Tensor) -> Tensor:
    """How long a class stays the most probable as superpixels leave: the share of the images x¹, …, x^L on which no
    logit is higher than the target's (B), in [0, 1], lower is better (own definition). `logits` are B×L×C, `targets` B
    classes, and `removed` the shares of the superpixels that left (B×L). NaN where C = 1, or a logit is NaN.

    >>> class_kept(torch.tensor([[[2, 0], [1, 0], [0, 3], [0, 3]]]), torch.tensor([0]), torch.arange(1, 5)[None] / 4)
    tensor([0.5000], dtype=torch.float64)
    """
    width = removed.double().diff(dim=1, prepend=torch.zeros_like(removed[:, :1], dtype=torch.float64))
    own = logits.gather(2, targets[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]
    kept = ((own >= logits.amax(2)) * width).sum(1)
    return torch.where(logits.isnan().flatten(1).any(1) | (logits.shape[2] == 1), torch.nan, kept)


class WithoutSuperpixels(WithoutSegments):
    """The image as its superpixels leave, and the logits of all classes."""

    all_logits = True


@dataclass(frozen=True, kw_only=True)
class IROF(Metric):
    """What of the class's probability goes with the superpixels that a map ranks highest (Rieger & Hansen 2020).

    The image is cut into L ≤ `segments` superpixels by SLIC. They leave one by one, the one with the highest mean of
    the map first, and each of their pixels becomes the `baseline`: the image's mean colour unless another is named.
    Columns:

    - `irof`: the area over the curve of the probability, relative to the image's own; at most 1, below 0 where it
      rises; higher is better
    - `kept`: the share of the L altered images on which no other class has a higher logit, in [0, 1]; lower is better
    - `segments`: L
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    Superpixels with equal means, as where a map is zero, leave in an order drawn from the image's seed. It cannot tell
    apart maps that order the superpixels alike. Needs scikit-image (`pip install 'camfaith[superpixels]'`), else
    `ImportError`.
    """

    segments: Few = 50
    baseline: Any = "mean"
    name = "irof"
    main = "irof"
    better = {"irof": "higher", "kept": "lower"}
    range = {"irof": (-inf, 1), "kept": (0, 1), "segments": (1, inf), **DRIFT}
    undefined = f"irof: there is no probability to lose; kept: there is no other class; {NO_DRIFT}"
    needs_probability = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require("skimage.segmentation")

    @property
    def _without(self) -> WithoutSuperpixels:
        return WithoutSuperpixels(Superpixels(self.segments), self.segments, self.baseline)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._without,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self._without]
        assert answer.at is not None and answer.logits is not None  # noqa: PT018
        scores = torch.cat([case.whole("probability")[:, None], answer.of("probability")], 1)
        return {
            "irof": irof(scores, torch.cat([torch.zeros(len(case), 1), answer.at], 1)),
            "kept": class_kept(answer.logits, case.targets, answer.at),
            "segments": (1 / answer.at[:, 0]).round(),
            **drift_of(answer),
        }
