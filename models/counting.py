"""Counting what goes through a network, whoever sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Tally:
    """Images sent forward through a network, and images whose scores were sent backward."""

    forwards: int = 0
    backwards: int = 0

    def add(self, other: Tally) -> None:
        """Add what another has counted, all of it."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@contextmanager
def counting(network: nn.Module) -> Iterator[Tally]:
    """Counts every call of `network` in the block, by methods of any library."""
    tally = Tally()

    def count_back(gradient: Tensor) -> None:
        tally.backwards += len(gradient)

    def count(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        tally.forwards += len(next(iter((*inputs, *named.values()))))
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(count_back)  # type: ignore[no-untyped-call]

    handle = network.register_forward_hook(count, with_kwargs=True)
    try:
        yield tally
    finally:
        handle.remove()
