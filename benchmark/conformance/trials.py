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
from camfaith.models.leaks import Watch


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
    """Afterwards the global generators and PyTorch's settings are as they were."""
    before = Watch(torch.nn.Identity())
    try:
        with torch.random.fork_rng():  # those of accelerators, too
            yield
    finally:
        before.undone()
