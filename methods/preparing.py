"""Prepares a network for captum's rules for layers, DeepLift's and LRP's, and says what these rules cannot take."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import cycle
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import Step

_MARKS = ("rule", "activation", "activations", "input", "output")


class _Turns(nn.Module):
    """Copies of a module without parameters: one for each call in a forward, used in turn."""

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(deepcopy(module) for _ in range(calls))
        self._turns = cycle(self.copies)

    def forward(self, *inputs: Any) -> Any:
        return next(self._turns)(*inputs)


@contextmanager
def unshared(network: nn.Module, steps: Sequence[Step]) -> Iterator[None]:
    """Inside, a module without parameters that is called several times, as a ResNet block's only ReLU, is one copy per
    call: captum keeps on a module what its rules need for one call only."""
    calls = Counter(step.module for step in steps if step.leaf and _stateless(step.module))
    turns = {module: _Turns(module, count) for module, count in calls.items() if count > 1}
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if child is not None and child in turns
    ]
    handles: list[RemovableHandle] = []
    try:
        for parent, name, child in places:
            parent._modules[name] = turns[child]
        handles.extend(module.register_forward_pre_hook(_past_its_copies) for module in turns)
        yield
    finally:
        for parent, name, child in places:
            parent._modules[name] = child
        for handle in handles:
            handle.remove()


def _past_its_copies(module: nn.Module, _inputs: Any) -> None:
    raise NotApplicable(
        f"a {type(module).__name__} that runs several times in a forward is called from a list or a variable, where "
        "its calls cannot be told apart; call it as self.<name>, or give each call its own module"
    )


@contextmanager
def unmarked(network: nn.Module) -> Iterator[None]:
    """Afterwards, what captum keeps on modules is gone, and what was there under the same names is back."""
    before = [(vars(m), {mark: vars(m)[mark] for mark in _MARKS if mark in vars(m)}) for m in network.modules()]
    try:
        yield
    finally:
        for attributes, own in before:
            for mark in _MARKS:
                attributes.pop(mark, None)
            attributes.update(own)


@contextmanager
def without_backward_hooks(network: nn.Module) -> Iterator[None]:
    """Inside, the network's own backward hooks rest: they would see what the rules make of gradients."""
    kept = [(module, module._backward_hooks, module._backward_pre_hooks) for module in network.modules()]
    try:
        for module, _, _ in kept:
            module._backward_hooks, module._backward_pre_hooks = OrderedDict(), OrderedDict()
        yield
    finally:
        for module, hooks, before in kept:
            module._backward_hooks, module._backward_pre_hooks = hooks, before


def check_precision(method: str, classifier: Classifier) -> None:
    """Raises `NotApplicable` if the rules' small denominators leave the range of numbers."""
    if classifier.dtype == torch.float16:
        raise NotApplicable(
            f"{method} divides by differences too small for float16; give it the network in single precision, as "
            "network.float(), or in bfloat16"
        )


def _stateless(module: nn.Module) -> bool:
    return not any(True for _ in module.parameters()) and not any(True for _ in module.buffers())


def no_rule(method: str, step: Step, function: str, advice: str) -> NotApplicable:
    """The error for a module that computes a function without a rule."""
    return NotApplicable(f"{method} has no rule for {function} in {step.where}; {advice}, or take another method")
