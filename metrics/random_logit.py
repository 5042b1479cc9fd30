"""Whether a map is that of its class, or of any: random logit, and class contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.probes import OneImage, Subject
from camfaith.metrics.probing.redrawn import Explained, enlarged
from camfaith.metrics.similarity import WINDOW, pearson, spearman, ssim


def random_logit(maps: Tensor, others: Tensor) -> dict[str, Tensor]:
    """How alike the maps of the explained class and of another one are (B×H×W each), 1 where the class does not matter
    to them (Sixt et al. 2020). Columns of B values, NaN where a map is constant:

    - `ssim`: the structural similarity (`ssim`), in [−1, 1], lower is better; NaN for maps smaller than its window
    - `spearman`: Spearman's rank correlation (`spearman`), in [−1, 1], lower is better

    >>> maps = torch.arange(121).view(1, 11, 11)
    >>> {name: round(value.item(), 6) for name, value in random_logit(maps, 2 * maps).items()}
    {'ssim': 1.0, 'spearman': 1.0}
    """
    return {"ssim": ssim(maps, others), "spearman": spearman(maps, others)}


def class_contrast(maps: Tensor, others: Tensor) -> dict[str, Tensor]:
    """How alike the maps of the explained class and of one that the network ranks elsewhere are (B×H×W each), 1 where
    the class does not matter to them (Li et al. 2020). Columns of B values, NaN where a map is constant:

    - `pearson`: Pearson's correlation over the pixels (`pearson`), in [−1, 1], lower is better
    - `ssim`: the structural similarity (`ssim`), in [−1, 1], lower is better; NaN for maps smaller than its window

    >>> maps = torch.arange(121).view(1, 11, 11)
    >>> {name: round(value.item(), 6) for name, value in class_contrast(maps, 2 * maps).items()}
    {'pearson': 1.0, 'ssim': 1.0}
    """
    return {"pearson": pearson(maps.flatten(1), others.flatten(1)), "ssim": ssim(maps, others)}


def other_class(target: int, classes: int, seed: int) -> int:
    """A class that is not the target, each of them as probable; the target itself where there is no other.

    >>> {other_class(1, 3, seed) for seed in range(20)}
    {0, 2}
    """
    if classes == 1:
        return target
    drawn = int(torch.randint(classes - 1, (), generator=torch.Generator().manual_seed(seed)))
    return drawn + (drawn >= target)


@dataclass(frozen=True)
class OtherClass(OneImage, Explained):
    """The image as it is, to be explained for another class than its own, drawn from its seed."""

    def target(self, subject: Subject) -> int:
        return other_class(super().target(subject), subject.case.logits.shape[1], subject.seed)


@dataclass(frozen=True)
class RankedClass(OneImage, Explained):
    """The image as it is, to be explained for the class with the `"least"` or, but for its own, the greatest logit."""

    other: Literal["least", "second"]

    def target(self, subject: Subject) -> int:
        own, logits = super().target(subject), subject.case.logits[subject.index].clone()
        if len(logits) > 1:
            logits[own] = inf if self.other == "least" else -inf
        return int(logits.argmin() if self.other == "least" else logits.argmax())


@dataclass(frozen=True, kw_only=True)
class OfTwoClasses(Metric):
    """What compares a method's map of the explained class with that of another, at the image's size."""

    undefined = (
        f"there is no other class, or a map is constant; ssim: the image is smaller than {WINDOW}×{WINDOW} pixels"
    )
    exempt = {"direction": "it compares a method's maps with each other, not with a truth"}

    @property
    def _other(self) -> Explained:
        raise NotImplementedError

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._other,)

    def compared(self, maps: Maps, answers: Answers) -> tuple[Tensor, Tensor]:
        """The maps of both classes (B×H×W each); NaN for the other, where there is none."""
        own, other = enlarged(maps, answers[self._other].explanations)
        return own, other[:, 0] * (torch.nan if maps.case.logits.shape[1] == 1 else 1)


@dataclass(frozen=True, kw_only=True)
class RandomLogit(OfTwoClasses):
    """How alike a method's maps of two classes are (Sixt et al. 2020): of the explained one, and of another that is
    drawn at random from the image's seed.

    Both are the map after the method's ReLU, where it has one, at the image's size. Columns, 1 where the class does not
    matter to the map, lower is better:

    - `ssim`: the structural similarity of the maps stretched to [0, 1], in [−1, 1] (Wang et al. 2004)
    - `spearman`: Spearman's rank correlation, in [−1, 1]

    A network may see the same evidence for both classes, and a faithful method's maps are then alike. A method's random
    choices keep their seed, so a map that ignores the class has 1. Read this beside a metric of faithfulness, and the
    controls.
    """

    name = "random-logit"
    main = "ssim"
    better = {"ssim": "lower", "spearman": "lower"}
    range = {"ssim": (-1, 1), "spearman": (-1, 1)}

    @property
    def _other(self) -> OtherClass:
        return OtherClass()

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return random_logit(*self.compared(maps, answers))


@dataclass(frozen=True, kw_only=True)
class ClassContrast(OfTwoClasses):
    """How alike a method's maps of the explained class and of the one that speaks most against it are (class
    sensitivity; Li et al. 2020, who explain the most probable class).

    The other class is the least probable one (`other = "least"`), or the most probable but for the explained one
    (`"second"`). Both maps are those after the method's ReLU, where it has one, at the image's size. Columns, 1 where
    the class does not matter to the map, lower is better:

    - `pearson`: Pearson's correlation over the pixels, in [−1, 1]
    - `ssim`: the structural similarity of the maps stretched to [0, 1], in [−1, 1] (Wang et al. 2004)

    A ReLU may leave nothing of the map of the least probable class, and then there is no value: `"second"` has more. A
    network may see the same evidence for both classes, and a faithful method's maps are then alike. It cannot tell a
    faithful map from any other that turns with the class: read this beside a metric of faithfulness, and the controls.
    """

    other: Literal["least", "second"] = "least"
    name = "class-contrast"
    main = "pearson"
    better = {"pearson": "lower", "ssim": "lower"}
    range = {"pearson": (-1, 1), "ssim": (-1, 1)}

    @property
    def _other(self) -> RankedClass:
        return RankedClass(self.other)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return class_contrast(*self.compared(maps, answers))
