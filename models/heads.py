"""What a network's outputs mean: a score for each class, and the probability that goes with it, where there is one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from camfaith.models.errors import NotApplicable


class Head:
    """Turns what a network returns into scores (B×C), of which one is explained, and scores into probabilities.

    A head whose scores have no probability says so by `gives_probabilities`.
    """

    name: ClassVar[str]
    gives_probabilities: bool = True
    classes: ClassVar[bool] = True
    """Whether its scores are those of classes, which labels name."""
    class_names: ClassVar[tuple[str, ...] | None] = None
    """The names of its classes, where the head itself knows them."""

    def scores(self, outputs: Tensor, model: str) -> Tensor:
        """B×C scores from the network's outputs; `ValueError` for outputs of another shape."""
        if outputs.ndim != 2 or outputs.shape[1] == 0:
            raise _misshaped(outputs, model, "B×C", "pool what is spatial, and return logits.flatten(1)")
        return outputs

    def outputs(self, classes: int) -> int:
        """How many outputs a network needs for so many classes."""
        return classes

    def require_probabilities(self) -> None:
        """`NotApplicable` where the head gives none."""
        if not self.gives_probabilities:
            raise NotApplicable(
                f"head {self.name!r} gives no probability: ask for the score itself with score = 'logit'"
            )

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """ln p (B×C); `NotApplicable` where the head gives no probability."""
        self.require_probabilities()
        raise NotImplementedError(f"{type(self).__name__} must define log_probabilities(scores)")

    def probabilities(self, scores: Tensor) -> Tensor:
        """p (B×C); `NotApplicable` where the head gives none."""
        return self.log_probabilities(scores).exp()

    def predicted(self, scores: Tensor) -> Tensor:
        """The class that the network predicts for each image (B): the one with the greatest score."""
        return scores.argmax(1)

    def of_target(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What curves are drawn of, B×2 in float64: the score of each image's target, and its log-probability, NaN
        where the head gives none."""
        scores = scores.to(torch.float64)
        logs = self.log_probabilities(scores) if self.gives_probabilities else torch.full_like(scores, torch.nan)
        return torch.stack([scores, logs], 2)[torch.arange(len(scores), device=scores.device), targets]

    def complaint(self, scores: Tensor, precision: torch.dtype) -> str:
        """What is wrong with outputs like these, computed in `precision`; "" where nothing is seen."""
        return ""

    def leaves_open(self, scores: Tensor, precision: torch.dtype) -> bool:
        """Whether outputs like these do not tell what `complaint` asks, so that others must be looked at."""
        return False

    def seem_squashed(self, scores: Tensor) -> bool:
        """Whether all outputs lie in [0, 1], as those of a sigmoid do."""
        return False

    def rows(self, weight: Tensor) -> Tensor:
        """The scores' weights (C×K), if `weight` (rows×K) is that of the network's last linear layer."""
        return weight

    def __repr__(self) -> str:
        return f"head {self.name!r}"


class Softmax(Head):
    """One of C ≥ 2 classes: p = softmax(z)."""

    name = "softmax"

    def scores(self, outputs: Tensor, model: str) -> Tensor:
        if outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1):
            advice = "say head='binary' for one logit, head='sigmoid' for one label, head='regression' for a number"
            raise _misshaped(outputs, model, "B×C with C ≥ 2", advice)
        return super().scores(outputs, model)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return scores.log_softmax(1)

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.softmax(1)

    def complaint(self, scores: Tensor, precision: torch.dtype) -> str:
        rounding, greatest = _rounding(scores, precision), scores.float().amax(1)
        if bool((scores >= 0).all()) and bool(((scores.float().sum(1) - 1).abs() <= rounding).all()):
            return (
                "returns probabilities (non-negative rows that sum to 1), not logits; remove its softmax: CAMs explain "
                "a logit, and probabilities are computed here"
            )
        unsure = greatest < -10 * rounding  # a sure network's greatest logit may be near 0 without a log-softmax
        if bool(unsure.any()) and self.leaves_open(scores, precision):
            return (
                "returns log-probabilities (the exponentials of each row sum to 1), not logits; remove its "
                "log-softmax: CAMs explain a logit, and probabilities are computed here"
            )
        return ""

    def leaves_open(self, scores: Tensor, precision: torch.dtype) -> bool:
        """True for rows whose exponentials sum to 1: of sure rows alone, a log-softmax cannot be told from logits."""
        return bool((scores.float().logsumexp(1).abs() <= _rounding(scores, precision)).all())

    def seem_squashed(self, scores: Tensor) -> bool:
        return _in_unit_range(scores)


class Sigmoid(Head):
    """C ≥ 1 labels, each for itself: p = σ(z)."""

    name = "sigmoid"

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return F.logsigmoid(scores)

    def seem_squashed(self, scores: Tensor) -> bool:
        return _in_unit_range(scores)


class Binary(Head):
    """One logit z an image (B or B×1), as the classes negative and positive: logits −z and z, p = σ(−z) and σ(z)."""

    name = "binary"
    class_names = ("negative", "positive")

    def outputs(self, classes: int) -> int:
        if classes != 2:
            raise ValueError(f"head 'binary' has two classes, got {classes}: say head='softmax'")
        return 1

    def scores(self, outputs: Tensor, model: str) -> Tensor:
        z = _single_column(outputs)
        if z is None:
            raise _misshaped(outputs, model, "one logit z an image, B or B×1", "say head='softmax' for two classes")
        return torch.cat([-z, z], 1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return F.logsigmoid(scores)

    def seem_squashed(self, scores: Tensor) -> bool:
        return _in_unit_range(scores[:, 1:])

    def rows(self, weight: Tensor) -> Tensor:
        return torch.cat([-weight, weight])


class Ordinal(Head):
    """C ≥ 2 classes in an order, by C − 1 logits z, P(y > c | y ≥ c) = σ(z_c) with c from 0: continuation ratios
    (Fienberg 1980), trained as CORN is (Shi et al. 2021).

    The score of a class, which is explained, is its log-probability: ln p_c = Σ_{j<c} ln σ(z_j) + ln σ(−z_c), and for
    the last class the sum alone.
    """

    name = "ordinal"

    def outputs(self, classes: int) -> int:
        return classes - 1

    def scores(self, outputs: Tensor, model: str) -> Tensor:
        z = super().scores(outputs, model)
        none = torch.zeros_like(z[:, :1])
        beyond = F.logsigmoid(z).cumsum(1)  # ln P(y > c)
        return torch.cat([none, beyond], 1) + torch.cat([F.logsigmoid(-z), none], 1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return scores

    def seem_squashed(self, scores: Tensor) -> bool:
        beyond = scores.flip(1).logcumsumexp(1).flip(1)[:, 1:]
        return _in_unit_range((beyond - scores[:, :-1]).round(decimals=4))  # z_c = ln P(y > c) − ln p_c

    def rows(self, weight: Tensor) -> Tensor:
        raise NotApplicable("head 'ordinal': a class's score is not linear in the last layer's logits; use GradCAM")


class Regression(Head):
    """One number an image, or several (B, or B×C): the score is the value, and there is no probability.

    `predicted` is the one number; of several none is predicted, so the target must be given.
    """

    name = "regression"
    gives_probabilities = False
    classes = False

    def scores(self, outputs: Tensor, model: str) -> Tensor:
        return super().scores(outputs[:, None] if outputs.ndim == 1 else outputs, model)

    def predicted(self, scores: Tensor) -> Tensor:
        if scores.shape[1] > 1:
            raise ValueError(
                f"a regression of {scores.shape[1]} numbers predicts no class: say which number to explain, as an "
                "index or a class name"
            )
        return super().predicted(scores)


SOFTMAX = Softmax()
HEADS: dict[str, Head] = {head.name: head for head in (SOFTMAX, Sigmoid(), Binary(), Ordinal(), Regression())}


def _single_column(outputs: Tensor) -> Tensor | None:
    """B×1, or None where an image has more than one number."""
    if outputs.ndim == 1:
        return outputs[:, None]
    return outputs if outputs.ndim == 2 and outputs.shape[1] == 1 else None


def _in_unit_range(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _misshaped(outputs: Tensor, model: str, wanted: str, advice: str) -> ValueError:
    shape = "×".join(map(str, outputs.shape)) or "a single number"
    return ValueError(f"model {model!r} returns shape {shape}; expected {wanted} ({advice})")


def _rounding(values: Tensor, precision: torch.dtype) -> float:
    """How far a softmax's rows may be from 1, in the coarser of the values' own and the network's precision."""
    return max(1e-4, *(torch.finfo(kind).eps / 2 for kind in (values.dtype, precision)))
