"""Counting what goes through a network, whoever sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from camfaith.models.functorch import rows
from camfaith.models.outputs import entries


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
    """Counts every call of `network` in the block, by methods of any library. Gradients of one score that go back
    together (`is_grads_batched`) count once."""
    tally = Tally()

    def count_back(gradient: Tensor) -> None:
        tally.backwards += rows(gradient)

    def count(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        tally.forwards += rows(next(iter((*inputs, *named.values()))))
        parts = [output] if isinstance(output, Tensor) else entries(output).values()
        tracked = [part for part in parts if isinstance(part, Tensor) and part.requires_grad]
        if tracked:
            register_multi_grad_hook(tracked, count_back, mode="any")  # once a pass, whichever part it starts from

    handle = network.register_forward_hook(count, with_kwargs=True)
    try:
        yield tally
    finally:
        handle.remove()
