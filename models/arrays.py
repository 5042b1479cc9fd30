"""Numbers as a user has them, made tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Tensor | NDArray[Any] | Sequence[Any]


def tensor_of(values: Array, what: str) -> Tensor:
    """A tensor from a tensor, a numpy array, or lists of numbers or of these; `ValueError` for anything else, which
    names `what` it should be."""
    if isinstance(values, Tensor):
        return values
    expected = f"{what}: expected a tensor, a numpy array or lists of numbers, got a {type(values).__name__}"
    if not isinstance(values, np.ndarray | np.generic | list | tuple):
        raise ValueError(expected)
    try:
        if not isinstance(values, np.ndarray | np.generic) and any(isinstance(one, Tensor) for one in values):
            return torch.stack([tensor_of(one, what) for one in values])
        array = np.array(values)
        # Arrays may be in the other byte order, which torch does not take.
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected} that makes none: {error}") from None
