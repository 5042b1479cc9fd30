"""What a metric judges maps by: images with a target class each, and what the network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.copies import own_copy, worked_out_once
from camfaith.metrics.probing.ranks import lottery
from camfaith.models.arrays import Array, tensor_of
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.heads import SOFTMAX
from camfaith.models.penultimate import Penultimate
from camfaith.models.speed.batches import halving
from camfaith.models.speed.setup import laid_out, scoring_batch

_NUMBERS = ("targets", "logits", "seeds", "masks", "contents", "target_scores", "features")
"""What a `Case` holds beside its images, a row for each."""


def score_of(score: str, logit: Tensor, log_probability: Tensor) -> Tensor:
    """The wanted one of a target's scores."""
    if score not in ("probability", "logit"):
        raise ValueError(f"a score is 'probability' or 'logit', got {score!r}")
    return log_probability.exp() if score == "probability" else logit


class PerImage:
    """A value of one image, as its superpixels, that no method or metric changes; subclasses are frozen values."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """The value of an image (3×H×W); what is random in it is drawn from `seed`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    """B images, one target class each, the logits they get, and what is known of them.

    `target_scores` (B×2, float64) holds the target's logit and its log-probability, NaN where the network's head gives
    none; without it, the logits are a softmax's. `normalisation` is the mean and the standard deviation of each colour
    by which the network normalises images; None where it takes them as they are.
    `masks` (where the evidence is) and `contents` (where the picture is not empty) are B×H×W, bool; an image without
    one has an all-False plane. `seeds`: one integer per image, from which ties and noise are drawn. `features` (B×D) is
    what the network's last linear layer is given of the images; None, or B×0, where that is not known.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    seeds: Tensor
    masks: Tensor | None = None
    contents: Tensor | None = None
    target_scores: Tensor | None = None
    features: Tensor | None = None
    original: Case | None = field(default=None, repr=False, compare=False)
    normalisation: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None)
    _replaced: dict[Baseline, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _found: dict[tuple[PerImage, int], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        images: Array,
        targets: Targets,
        *,
        masks: Array | None = None,
        contents: Array | None = None,
        seeds: Array | None = None,
    ) -> Case:
        """A case from images alone: one forward per image for the logits."""
        images = classifier.given(images)
        masks, contents, seeds = (
            None if given is None else tensor_of(given, name)
            for name, given in (("masks", masks), ("contents", contents), ("seeds", seeds))
        )

        penultimate = Penultimate(classifier.network)
        scores = penultimate.after(classifier.scores)

        def scored(batch: int) -> Tensor:
            parts = torch.split(images, batch)
            return torch.cat([scores(laid_out(classifier.network, part)).clone() for part in parts])

        with penultimate.watched():
            logits = halving(scoring_batch(images), scored)
        if seeds is not None and (seeds.shape != (len(images),) or seeds.is_floating_point()):
            raise ValueError(f"seeds: expected {len(images)} integers, got {seeds.dtype} of shape {tuple(seeds.shape)}")
        for name, planes in (("masks", masks), ("contents", contents)):
            if planes is not None and planes.shape != (len(images), *images.shape[-2:]):
                raise ValueError(f"{name}: expected B×H×W of the images' size, got {tuple(planes.shape)}")
        chosen = classifier.targets(targets, logits)
        return cls(
            images,
            chosen,
            logits,
            torch.zeros(len(images), dtype=torch.long) if seeds is None else seeds,
            None if masks is None else masks.to(images.device, torch.bool),
            None if contents is None else contents.to(images.device, torch.bool),
            classifier.head.of_target(logits, chosen),
            penultimate.gathered(len(images)),
            normalisation=(classifier.mean, classifier.std),
        )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: Sequence[int]) -> Case:
        """The case of some of the images."""
        at, held = list(rows), {name: getattr(self, name) for name in ("images", *_NUMBERS)}
        some: dict[str, Any] = {name: None if value is None else value[at] for name, value in held.items()}
        return replace(self, **some, original=None)

    def copy(self) -> Case:
        """A copy for a metric, which may write into it: on the CPU, and in double precision but for the images."""
        return self._exact._copied()

    @cached_property
    def _exact(self) -> Case:
        """What copies are made of, so that each number is brought to the CPU once."""
        return self._copied()

    def _copied(self) -> Case:
        own = {name: own_copy(getattr(self, name)) for name in _NUMBERS}
        return replace(self, images=self.images.to("cpu", copy=True), **own, original=self)

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @worked_out_once
    def lottery(self) -> Tensor:
        """The order in which pixels of equal value leave (B×N), the same for all maps."""
        return lottery(self.seeds, self.pixels).to(self.images.device)

    def replaced(self, baseline: Baseline) -> Tensor:
        """The images' baselines (B×3×H×W), made once."""
        if baseline not in self._replaced:
            of = self.original
            made = baseline(self.images, self.seeds) if of is None else of.replaced(baseline).to("cpu", copy=True)
            self._replaced[baseline] = made
        return self._replaced[baseline]

    def features_of(self, rows: Sequence[int] | Tensor) -> Tensor | None:
        """The features of some of the images, one of which may stand there several times."""
        return None if self.features is None else self.features[rows]

    def content(self, index: int) -> Tensor | None:
        """The content mask of one image (H×W); None where there is none."""
        if self.contents is None or not bool(self.contents[index].any()):
            return None
        return self.contents[index].to(self.images.device)

    def once(self, value: PerImage) -> list[Tensor]:
        """That value of each image, worked out once for all methods and metrics."""
        return [self.once_of(value, index) for index in range(len(self))]

    def once_of(self, value: PerImage, index: int) -> Tensor:
        """That value of one image."""
        key, of = (value, index), self.original
        if key not in self._found:
            made = value(self.images[index], int(self.seeds[index])) if of is None else own_copy(of.once_of(*key))
            self._found[key] = made
        return self._found[key]

    @cached_property
    def of_target(self) -> Tensor:
        """`target_scores`, or what a softmax makes of the logits."""
        given = self.target_scores
        return SOFTMAX.of_target(self.logits, self.targets) if given is None else given

    def whole(self, score: str) -> Tensor:
        """The target's `"probability"` or `"logit"` on the images as they are (B, float64); else `ValueError`."""
        return score_of(score, *self.of_target.unbind(1))
