"""Copies of what is judged, for code that may write into them: what is worked out of an original is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")


class PerImage:
    """A value of one image, as its superpixels, that no method or metric changes; subclasses are frozen values."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """The value of an image (3×H×W); what is random in it is drawn from `seed`."""
        raise NotImplementedError


def worked_out_once(work: Callable[[Any], Found]) -> cached_property[Found]:
    """A tensor, or several, worked out once for an original and all its copies, each of which holds its own."""

    def found(self: Any) -> Any:
        return work(self) if self.original is None else own_copy(getattr(self.original, work.__name__))

    found.__doc__ = work.__doc__
    return cached_property(found)


def own_copy(value: Any) -> Any:
    """A copy of a tensor, or of several, on the CPU, in double precision where it is one of real numbers."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(map(own_copy, value))
    return value.to("cpu", torch.float64 if value.is_floating_point() else value.dtype, copy=True)
