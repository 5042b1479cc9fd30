"""How much memory the tensors of a block of code take, counted in them: the same on every device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Alive:
    """The bytes that tensors made in the block hold `now`, and the most that they ever held at once."""

    now: int = 0
    peak: int = 0
    _held: dict[int, int] = field(default_factory=dict)

    def add(self, made: Any, given: Any) -> None:
        """Count what the tensors that an operation made of those `given` hold, until nobody holds it. A view of what is
        counted adds nothing, nor does one of what was there before."""
        before = {storage._cdata for storage in _storages(given)}
        for storage in _storages(made):
            place = storage._cdata
            if place not in self._held and place not in before:
                self._held[place] = storage.nbytes()
                self.now += self._held[place]
                self.peak = max(self.peak, self.now)
                finalize(storage, self._gone, place)

    def _gone(self, place: int) -> None:
        self.now -= self._held.pop(place)


def _storages(of: Any) -> Iterator[UntypedStorage]:
    for tensor in tree_leaves(of):
        if isinstance(tensor, Tensor) and not tensor.is_sparse:
            yield tensor.untyped_storage()


class _Counting(TorchDispatchMode):
    """Tells `Alive` of every tensor that an operation gives."""

    def __init__(self, alive: Alive) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive = alive

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Any,
        given: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        found = operation(*given, **(named or {}))
        self._alive.add(found, (given, named))
        return found


@contextmanager
def counting_memory() -> Iterator[Alive]:
    """Counts what tensors take that operations make in the block; what was there before, as weights, counts nothing."""
    alive = Alive()
    with _Counting(alive):
        yield alive
