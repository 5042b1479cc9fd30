"""Tensors inside a transform of `torch.func`: each stands for others, which only the code outside it sees."""

from __future__ import annotations

from collections.abc import Sized

from torch import Tensor
from torch._C import _functorch as functorch


def is_wrapped(value: Tensor) -> bool:
    """Whether the tensor belongs to a running transform, and is worth nothing after it."""
    return bool(functorch.is_functorch_wrapped_tensor(value))


def rows(batch: Sized) -> int:
    """The length of a batch, times the length that each `torch.func.vmap` around it maps over."""
    count = len(batch)
    while isinstance(batch, Tensor) and is_wrapped(batch):
        inner, axis = functorch.get_unwrapped(batch), functorch.maybe_get_bdim(batch)
        count *= inner.shape[axis] if axis >= 0 else 1
        batch = inner
    return count
