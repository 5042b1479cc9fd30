"""Layers by name: a module of a network, and which of its calls."""

from __future__ import annotations

import torch
from torch import nn

from camfaith.models.errors import LayerError
from camfaith.models.lookup import UnknownName
from camfaith.models.walk import every_module, is_scripted, without_wrappers


def call_of(layer: str) -> tuple[str, int | None]:
    """The module's name in a layer's, and which of its calls in a forward is meant, from 1: `features.8#1` is the first
    call of `features.8`. None if no call is named. Raises `LayerError` for a call that is no number from 1."""
    name, mark, number = layer.partition("#")
    if not mark:
        return name, None
    if not number.isdecimal() or int(number) < 1:
        raise LayerError(f"layer {layer!r}: expected a number from 1 behind '#', as {name + '#1'!r} for the first call")
    return name, int(number)


def find_module(network: nn.Module, layer: str) -> nn.Module:
    """The submodule with this dotted name, for code that reads all its calls.

    Raises `UnknownName`, and `LayerError` for a name inside TorchScript, or of one call of a module.
    """
    if call_of(layer)[1] is not None:
        raise LayerError(f"layer {layer!r} is one call of a module, and here all its calls are read; leave '#' out")
    return _way_to(network, layer)[-1]


def _way_to(network: nn.Module, layer: str) -> list[nn.Module]:
    """The modules from the network down to the submodule with this dotted name, through wrappers of `torch.compile`."""
    way = [network]
    for step in without_wrappers(layer).split("."):
        part = dict(way[-1]._modules.items()).get(step)  # TorchScript keeps modules in a type of its own
        if part is None:
            if any(map(is_scripted, every_module(network))):
                raise _unseen(layer)
            known = [without_wrappers(name) for name, _ in network.named_modules(remove_duplicate=False)]
            raise UnknownName("layer", layer, dict.fromkeys(filter(None, known)))
        way.append(getattr(part, "_orig_mod", part))
    return way


def shown(network: nn.Module, layer: str) -> nn.Module:
    """The submodule with this dotted name; `LayerError` if it is TorchScript or a part of it, which runs unseen."""
    *outer, module = _way_to(network, layer)
    if is_scripted(module) or any(isinstance(each, torch.jit.ScriptModule) for each in outer):
        raise _unseen(layer)
    return module


def _unseen(layer: str) -> LayerError:
    return LayerError(
        f"layer {layer!r} is TorchScript, or a part of it, which runs unseen; give the Python module that it was made "
        "from, or take a method that reads no layer, as rise"
    )


def layer_name(network: nn.Module, layer: str | nn.Module) -> str:
    """The dotted name of a layer, which is given by name or as the module itself.

    Raises `UnknownName`, `LayerError` for a call that cannot be, and `ValueError` for a module of another network.
    """
    if isinstance(layer, nn.Module):
        found: str | None = next((name for name, module in network.named_modules() if name and module is layer), None)
        if found is None:
            raise ValueError(
                f"expected a layer of {type(network).__name__}, got {type(layer).__name__}, which is none of its "
                "modules; give one of this network itself (not of a copy), or a name out of model.named_modules()"
            )
        return without_wrappers(found)
    if not isinstance(layer, str):
        raise ValueError(f"expected a layer's name, such as 'layer4', or the module; got {type(layer).__name__}")
    _way_to(network, call_of(layer)[0])
    return layer
