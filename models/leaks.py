"""Leaks: what a call of somebody else's code leaves behind in a network and in the process. They are seen, named and
undone."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

Kind = Literal["network", "mode", "gradients", "hooks", "generators", "process"]

_PARTS = ("_modules", "_parameters", "_buffers")
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"),
)
_HELD = (*_PARTS, *_HOOKS)
_OF_ALL = tuple(name for name in vars(nn.modules.module) if name.startswith("_global_") and name.endswith("hooks"))
_ALWAYS = ("training", "forward", "_call_impl", "_compiled_call_impl")
_OF_TENSORS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_PLAIN = (bool, int, float, str, tuple, type(None))
_MISSING: Any = object()
_NONE: dict[Any, Any] = {}


@dataclass(frozen=True)
class Leak:
    """What was changed, in words, and how it is undone."""

    kind: Kind
    text: str
    undo: Callable[[], object]


def copies_of(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, copied: what is written past torch's count of versions shows against them alone."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(network)}


class Watch:
    """A network and the process as they are now. `copies` are those of its parameters and buffers, as `copies_of` gives
    them; without them a weight that was written to is named, and cannot be put back. `thorough`: weights are compared
    with them, and not the count of their versions alone."""

    def __init__(
        self, network: nn.Module, copies: Mapping[str, Tensor] | None = None, *, thorough: bool = True
    ) -> None:
        self._copies, self._thorough = copies or {}, thorough
        modules = ((name or "the network", module) for name, module in network.named_modules())
        self._modules = [(name, module, _settings(module), _held(module)) for name, module in modules]
        kinds = {kind for of in {type(module) for _, module, *_ in self._modules} for kind in of.__mro__}
        self._forwards = {kind: vars(kind)["forward"] for kind in kinds if "forward" in vars(kind)}
        self._of_all = {name: dict(getattr(nn.modules.module, name)) for name in _OF_ALL}
        self._tensors = [(name, _Written(tensor)) for name, tensor in _tensors(network)]
        self._process = {name: read() for name, (_, read, _) in _PROCESS.items()}

    def leaks(self) -> Iterator[Leak]:
        """What is not as it was."""
        for name, module, settings, entries in self._modules:
            yield from _changed_settings(name, module, settings)
            yield from _changed_entries(name, vars(module), entries)
        for of, was in self._forwards.items():
            if vars(of).get("forward") is not was:
                yield Leak(
                    "network", f"forward of class {of.__name__} is another", partial(setattr, of, "forward", was)
                )
        yield from _changed_entries("all modules", vars(nn.modules.module), self._of_all)
        for name, written in self._tensors:
            yield from written.leaks(name, self._copies.get(name), self._thorough)
        for name, before in self._process.items():
            kind, read, write = _PROCESS[name]
            if not _same(now := read(), before):
                text = f"{name}'s global generator was used or set"
                text = text if kind == "generators" else f"{name} was {before} and is {now}"
                yield Leak(kind, text, partial(write, before))

    def undone(self, but: Collection[str] = ()) -> list[str]:
        """Undo all leaks except those at some places, and say what they were. A `.grad` that is left moves no number:
        it is taken away without a word."""
        found = [leak for leak in self.leaks() if _place(leak) not in but]
        for leak in found:
            leak.undo()
        return [leak.text for leak in found if leak.kind != "gradients"]


class Guard:
    """Watches the calls of methods and metrics on a network, each of which is to leave it as it was. What the network
    changes of itself is nobody's leak."""

    def __init__(self, network: nn.Module, own: Collection[str] = ()) -> None:
        self._network, self._copies = network, copies_of(network)
        self.own = set(own)
        """What the network changes of itself, as far as that is known."""
        self._seen: Watch | None = None

    @contextmanager
    def learning(self) -> Iterator[None]:
        """In the block the network is called, and nobody else's code."""
        before = Watch(self._network, self._copies)
        yield
        self.own |= {_place(leak) for leak in before.leaks()}
        self._copies = copies_of(self._network) if self.own else self._copies

    def look(self) -> None:
        """Before many short calls of code that has hardly to do with the network: of weights, the count of versions
        alone is looked at."""
        self._seen = Watch(self._network, self._copies, thorough=False)

    def left(self) -> list[str]:
        """What is not as it was at the last look, undone."""
        if self._seen is None:
            return []
        if said := self._seen.undone(self.own):
            self.look()
        return said

    @contextmanager
    def call(self, *, altered: bool = False) -> Iterator[list[str]]:
        """Gives the list of what the block leaves behind, which is filled, and undone, at its end. `altered`: the
        network's weights are others than usual just now."""
        before = Watch(self._network, None if altered else self._copies)
        said: list[str] = []
        try:
            yield said
        finally:
            said += before.undone(self.own)


def _place(leak: Leak) -> str:
    """A leak's text without the values."""
    return leak.text.partition(" was ")[0]


def _held(module: nn.Module) -> dict[str, dict[Any, Any]]:
    """The entries of a module by the name of what holds them."""
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    attributes = vars(module)
    return {name: dict(found) if (found := attributes[name]) else _NONE for name in _HELD if name in attributes}


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a constructor, or anybody else, set: `training`, `inplace`, `p`, a `forward` of its own. A module that is
    not torch's may count or remember by itself, so of its own attributes nothing is told."""
    own = type(module).__module__.startswith("torch.")
    return {"class": type(module)} | {
        name: value
        for name, value in vars(module).items()
        if name in _ALWAYS or (own and name[:1] != "_" and type(value) in _PLAIN)
    }


def _changed_settings(where: str, module: nn.Module, before: Mapping[str, Any]) -> Iterator[Leak]:
    now, attributes = _settings(module), vars(module)
    if now.keys() == before.keys() and all(now[name] is value for name, value in before.items()):
        return
    for name in dict.fromkeys([*before, *now]):
        was, found = before.get(name, _MISSING), now.get(name, _MISSING)
        if was is found or (found is not _MISSING and type(was) is type(found) and was == found):
            continue
        undo: Callable[[], object] = partial(attributes.__setitem__, name, was)
        if name == "class" or was is _MISSING:
            undo = partial(setattr, module, "__class__", was) if name == "class" else partial(attributes.pop, name)
        if name == "training":
            yield Leak("mode", f"{where} was in {_mode(was)} mode and is in {_mode(found)}", undo)
        else:
            told = ("not there" if value is _MISSING else value for value in (was, found))
            yield Leak("network", "{} of {} was {} and is {}".format(name, where, *told), undo)


def _mode(training: Any) -> str:
    return "training" if training else "evaluation"


def _changed_entries(where: str, attributes: dict[str, Any], before: Mapping[str, dict[Any, Any]]) -> Iterator[Leak]:
    for name, entries in before.items():
        now = attributes[name]
        if len(now) == len(entries) and all(now.get(key, _MISSING) is value for key, value in entries.items()):
            continue
        undo = partial(_refill, now, entries)
        kind: Kind = "hooks" if name.endswith("hooks") or name in _HOOKS else "network"
        yield Leak(kind, f"{name[1:]} of {where} are others than before", undo)


def _refill(entries: dict[Any, Any], content: Mapping[Any, Any]) -> None:
    entries.clear()
    entries.update(content)


class _Written:
    """A parameter or buffer, and how it was."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._data, self._count, self._place = tensor, tensor.data, _version(tensor), _memory(tensor)
        self._wanted, self._grad = tensor.requires_grad, tensor.grad
        self._grad_count = 0 if self._grad is None else _version(self._grad)
        self._hooks = [dict(found) if (found := getattr(tensor, kind, None)) else _NONE for kind in _OF_TENSORS]

    def leaks(self, name: str, copy: Tensor | None, thorough: bool) -> Iterator[Leak]:
        tensor, grad = self._tensor, self._tensor.grad
        changed = _memory(tensor) != self._place
        if not changed and (thorough or _version(tensor) != self._count):
            changed = _version(tensor) != self._count if copy is None else not alike(tensor, copy)
        if changed:
            yield Leak("network", f"{name} was changed", partial(self._put_back, copy))
        if tensor.requires_grad != self._wanted:
            text = f"requires_grad of {name} was {self._wanted} and is {tensor.requires_grad}"
            yield Leak("network", text, partial(tensor.requires_grad_, self._wanted))
        if grad is not self._grad or (grad is not None and _version(grad) != self._grad_count):
            yield Leak("gradients", f".grad of {name} was changed", partial(setattr, tensor, "grad", self._grad))
        for kind, hooks in zip(_OF_TENSORS, self._hooks, strict=True):
            now = getattr(tensor, kind, None) or {}
            if now.keys() != hooks.keys():
                yield Leak("hooks", f"{kind[1:]} of {name} are others than before", partial(_refill, now, hooks))

    def _put_back(self, copy: Tensor | None) -> None:
        with torch.no_grad():
            if _memory(self._tensor) != self._place:
                self._tensor.data = self._data
            if copy is not None and not alike(self._data, copy):
                self._data.copy_(copy)


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """Which memory a tensor reads, and how."""
    return tensor.data_ptr(), tensor.dtype, tensor.stride()


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values, NaN for NaN."""
    if torch.equal(one, other):
        return True
    numbers = one.shape == other.shape and one.is_floating_point() and other.is_floating_point()
    return numbers and bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())  # noqa: NPY002
    return (name, keys.tobytes(), *rest)


def _set_numpy(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # None costs nothing at every call


def _switch(of: Any, name: str) -> tuple[Kind, Callable[[], Any], Callable[[Any], object]]:
    return "process", partial(getattr, of, name), partial(setattr, of, name)


def _autocast(device: str) -> tuple[Kind, Callable[[], Any], Callable[[Any], object]]:
    return "process", partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device)


_kernels, _products = torch.backends.cudnn, torch.backends.cuda.matmul
_PROCESS: Mapping[str, tuple[Kind, Callable[[], Any], Callable[[Any], object]]] = {
    "torch": ("generators", torch.random.get_rng_state, torch.random.set_rng_state),
    "numpy": ("generators", _numpy_state, _set_numpy),
    "Python": ("generators", random.getstate, random.setstate),
    "torch.is_grad_enabled()": ("process", torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.is_autocast_enabled('cpu')": _autocast("cpu"),
    "torch.is_autocast_enabled('cuda')": _autocast("cuda"),
    "torch.get_default_dtype()": ("process", torch.get_default_dtype, torch.set_default_dtype),
    "torch.get_default_device()": ("process", torch.get_default_device, _set_device),
    "torch.are_deterministic_algorithms_enabled()": (
        "process",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.get_num_threads()": ("process", torch.get_num_threads, torch.set_num_threads),
    "numpy.geterr()": ("process", np.geterr, lambda before: np.seterr(**before)),
    "torch.backends.mkldnn.enabled": _switch(torch.backends.mkldnn, "enabled"),
    "torch.backends.cudnn.deterministic": _switch(_kernels, "deterministic"),
    "torch.backends.cudnn.benchmark": _switch(_kernels, "benchmark"),
    "torch.backends.cudnn.allow_tf32": _switch(_kernels, "allow_tf32"),
    "torch.backends.cuda.matmul.allow_tf32": _switch(_products, "allow_tf32"),
}
