"""What is too small to count: changes of a score that are rounding, and denominators close to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answer
from camfaith.metrics.probing.case import Case


def rounding(case: Case, answer: Answer, score: str) -> Tensor:
    """How far the network's rounding moves each score of an answer: ε·z for a logit, ε·z·p(1 − p) for a probability p.

    B×n; ε is the precision of the images that the network saw, z the greatest size of the image's logits and the
    answer's, and p(1 − p) that of the image or of the answer, whichever is greater.
    """
    z = answer.logit.abs().maximum(case.logits.abs().amax(1, keepdim=True))
    moved = torch.finfo(case.images.dtype).eps * z
    if score == "probability":
        before, after = case.whole(score)[:, None], answer.of(score)
        moved = moved * (before * (1 - before)).maximum(after * (1 - after))
    return moved


def resolution(case: Case, answer: Answer, score: str) -> Tensor:
    """The least difference between two scores of each image (B) that is more than rounding, in single precision or in
    the network's own where that is lower."""
    coarser = max(1.0, torch.finfo(torch.float32).eps / torch.finfo(case.images.dtype).eps)
    return 2 * coarser * rounding(case, answer, score).amax(1)


def in_steps(values: Tensor, step: Tensor | float) -> Tensor:
    """Values (B×n, float64) rounded to whole steps (a number, or B), so that rounding orders none; a step of 0
    leaves them as they are."""
    step = torch.as_tensor(step, dtype=torch.float64, device=values.device).reshape(-1, 1)
    return torch.where(step > 0, (values.double() / step).round() * step, values.double())


def quotient(part: Tensor, whole: Tensor, least: Tensor | float = 1e-9) -> Tensor:
    """part/whole; NaN where the size of the whole is no more than `least`."""
    return torch.where(whole.abs() > least, part / whole, torch.nan)
