"""Calls of a network: planned, and counted as they are made, whoever makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from camfaith.models.functorch import rows
from camfaith.models.outputs import entries


@dataclass(frozen=True)
class Calls:
    """Planned: images forward through a network, images whose score goes backward, and passes through what stands
    behind a layer alone."""

    forwards: int = 0
    backwards: int = 0
    tails: int = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(self.forwards + other.forwards, self.backwards + other.backwards, self.tails + other.tails)

    def __mul__(self, times: int) -> Calls:
        return Calls(self.forwards * times, self.backwards * times, self.tails * times)


@dataclass
class Tally:
    """Made: images forward through a network and back, passes through what stands behind a layer alone, the time inside
    the model (with that of the methods, where it has them explain), and the planned forwards that were not made."""

    forwards: int = 0
    backwards: int = 0
    tails: int = 0
    model_seconds: float = 0.0
    shared: int = 0
    """Planned forwards that equal orders of pixels, or equal maps, saved."""
    spared: int = 0
    """Planned forwards that a probe could have asked for and did not need."""
    settled: int = 0
    """Planned forwards that were not made because their cell's place was settled."""
    failed: int = 0
    """Planned forwards that were not made because a method gave no map."""
    halvings: int = 0
    """How often the batch was halved because memory ran out."""
    seconds: float = 0.0
    """All the time that it took, that of the model and of everything around it."""

    def add(self, other: Tally) -> None:
        """Add what another has counted, all of it."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def since(self, before: Tally) -> Tally:
        """What was counted after it stood at `before`."""
        return Tally(**{name: value - getattr(before, name) for name, value in vars(self).items()})


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
