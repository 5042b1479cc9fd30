"""A network's first outputs tell what it is: of so many classes, with a softmax or a sigmoid inside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from camfaith.models.heads import Head

_ENOUGH = 32
"""So many outputs are looked at."""


class FirstOutputs:
    """Looks at the outputs until there were enough."""

    def __init__(self) -> None:
        self._seen, self._squashed = 0, True

    def look_at(
        self, values: Tensor, *, model: str, head: Head, class_names: Sequence[str] | None, precision: torch.dtype
    ) -> None:
        """`ValueError` where outputs (B×C) can be seen to be no logits, or are not as many as the class names; a
        warning where the first are all in [0, 1]."""
        if self._seen >= _ENOUGH or not len(values) or not values.is_floating_point():
            return
        if wrong := head.complaint(values, precision):
            raise ValueError(f"model {model!r} {wrong}")
        if class_names is not None and len(class_names) != values.shape[1]:
            raise ValueError(
                f"model {model!r} has {len(class_names)} class names, first {tuple(class_names[:2])}, "
                f"but {values.shape[1]} outputs; give one name for each output, in their order, and no heading"
            )
        if head.leaves_open(values, precision):
            return
        self._seen += values.numel()
        self._squashed = self._squashed and head.seem_squashed(values)
        if self._squashed and self._seen >= _ENOUGH:
            warnings.warn(
                f"model {model!r} seems to end in a sigmoid: its first outputs all lie in [0, 1]; if it does, "
                "remove it, since probabilities are computed here from logits",
                stacklevel=5,
            )
