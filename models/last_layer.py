"""The layer that gives a network's outputs, made anew for another number of them."""

from __future__ import annotations

from typing import Any

from torch import nn


def with_outputs(network: nn.Module, outputs: int) -> list[str]:
    """Give a network so many outputs: its last linear layer, or 1×1 convolution, is drawn anew. Returns the names of
    the layers that are new.

    The last is the one that the network names last; a network of timm knows its own. Raises `ValueError` where there is
    none.
    """
    before = dict(network.named_modules())
    reset: Any = getattr(network, "reset_classifier", None)
    if callable(reset):
        reset(outputs)
    else:
        name = next((name for name in reversed(before) if is_linear(before[name])), "")
        if not name:
            raise ValueError(f"{type(network).__name__} has no linear layer inside that could be made anew")
        network.set_submodule(name, _like(before[name], outputs))
    return [name for name, module in network.named_modules() if before.get(name) is not module]


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer, or a 1×1 convolution, which is one at each place."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def _like(old: Any, outputs: int) -> nn.Module:
    like = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, outputs, **like)
    return nn.Conv2d(old.in_channels, outputs, 1, old.stride, old.padding, **like)
