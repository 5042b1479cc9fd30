"""The inputs that checks try, and the state that they leave alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camfaith.benchmark.conformance.networks import CLASSES


@dataclass(frozen=True)
class Trial:
    """Noise images of one size, with a class each."""

    batch: int = 1
    height: int = 4
    width: int = 4
    seed: int = 0

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.height}×{self.width} px, seed {self.seed}"

    def images(self, dtype: torch.dtype = torch.float64) -> Tensor:
        source = torch.Generator().manual_seed(self.seed)
        shape = (self.batch, 3, self.height, self.width)
        return torch.rand(shape, generator=source, dtype=torch.float64).to(dtype)

    @property
    def targets(self) -> list[int]:
        return [(self.seed + row) % CLASSES for row in range(self.batch)]


def set_generators(seed: int) -> None:
    # Without an accelerator, `torch.manual_seed` writes down the stack for each kind of one that there might be.
    (torch if torch.accelerator.is_available() else torch.default_generator).manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one is what methods draw from
    random.seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Afterwards the global generators, torch's modes and its default precision are as they were."""
    numpys, pythons, dtype = np.random.get_state(), random.getstate(), torch.get_default_dtype()  # noqa: NPY002
    try:
        with torch.random.fork_rng(), torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        torch.set_default_dtype(dtype)
