"""Which class of each image is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from camfaith.models.heads import Head

Targets = None | int | Sequence[int] | Tensor | Callable[[Tensor], Tensor]
"""The predicted class, one index for all images, one for each, or a function of the logits that gives these."""


def class_indices(targets: Targets, logits: Tensor, head: Head) -> Tensor:
    """One class index per row of `logits` (B×C); `ValueError` if there is no such class."""
    count, classes = logits.shape
    if targets is None:
        return head.predicted(logits)
    if isinstance(targets, str):
        raise ValueError(f"expected a class index, got {targets!r}; class_names.index({targets!r}) may be it")
    chosen = _indices(targets(logits) if callable(targets) else targets)
    if chosen.ndim == 0:
        chosen = chosen.expand(count)
    if chosen.shape != (count,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        source = f" from {type(targets).__name__}" if callable(targets) else ""
        got = f"{chosen.dtype} of shape {tuple(chosen.shape)}{source}"
        raise ValueError(f"expected one class index for each of {count} images, got {got}")
    if count and (int(chosen.min()) < 0 or int(chosen.max()) >= classes):
        raise ValueError(f"class index out of range: expected 0 to {classes - 1}, got {chosen.tolist()[:8]}")
    return chosen.to(logits.device, torch.long)


def _indices(targets: Any) -> Tensor:
    """Class indices as a tensor; `ValueError` for what is none, as another library's target objects."""
    try:
        return torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError):
        one = targets[0] if isinstance(targets, list | tuple) and targets else targets
        known = getattr(one, "category", None)
        advice = f"give the index itself, {known}" if isinstance(known, int) else "give the index itself"
        raise ValueError(f"expected class indices, got {type(one).__name__}: {advice}") from None
