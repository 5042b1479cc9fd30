"""A network whose weights are drawn anew, layer by layer; the trained ones come back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from camfaith.models.errors import NotApplicable
from camfaith.models.walk import require_python, without_wrappers


def weight_layers(network: nn.Module) -> list[tuple[str, ...]]:
    """The layers that can draw weights, in the network's own order: the name of each, and of the norms behind it.

    A norm has nothing to draw: it goes back to what it was before training together with the layer before it. Raises
    `NotApplicable` for a network without such layers, with a parametrised one or with TorchScript in it.
    """
    require_python(network)
    found: list[list[str]] = []
    for name, module in network.named_modules():
        if is_parametrized(module):
            raise NotApplicable(
                f"layer {name!r} is parametrised, and does not draw its weights; remove_parametrizations"
            )
        own = [each for each in module._parameters.values() if each is not None and each.is_floating_point()]
        if own and _reset_of(module):
            if not found or any(each.ndim > 1 for each in own):
                found.append([])
            found[-1].append(name)
    if not found:
        raise NotApplicable(
            f"{type(network).__name__} has no layer that draws weights (a module with `reset_parameters`), so none can "
            "be made random"
        )
    return [tuple(names) for names in found]


@contextmanager
def weights_drawn(network: nn.Module, layers: Iterable[str], seed: int) -> Iterator[None]:
    """In the block, those layers have the weights that `reset_parameters` gives a new network, drawn on the CPU and in
    single precision from `seed` and the layer's name, so that every layer has numbers of its own.

    Other tensors take the place of the network's own, which nobody writes to: they come back as they were, whatever
    happens. Raises `NotApplicable` for a layer whose weights stay the same.
    """
    kept: list[tuple[nn.Module, str, Tensor]] = []
    try:
        with torch.inference_mode(False), torch.no_grad():
            for layer in layers:
                _draw(network.get_submodule(layer), layer, seed, kept)
        yield
    finally:
        for module, name, tensor in reversed(kept):
            setattr(module, name, tensor)


def _draw(layer: nn.Module, name: str, seed: int, kept: list[tuple[nn.Module, str, Tensor]]) -> None:
    """Draw the weights of a layer, which may reset modules inside it too, and add what they replace to `kept`."""
    held = [
        (module, key, tensor)
        for module in layer.modules()
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None
    ]
    kept += held
    for module, key, tensor in held:
        setattr(module, key, _like(tensor, tensor.to("cpu", _drawn_in(tensor), copy=True)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed((seed * 1_000_003 + zlib.crc32(without_wrappers(name).encode())) % 2**63)
        _reset_of(layer)()
    weights = [(getattr(m, key), tensor) for m, key, tensor in held if m is layer and tensor.ndim > 1]
    if weights and all(torch.equal(now.to(tensor), tensor) for now, tensor in weights):
        raise NotApplicable(f"layer {name!r} ({type(layer).__name__}) does not draw its weights anew when it is reset")
    for module, key, tensor in held:
        setattr(module, key, _like(tensor, getattr(module, key).to(tensor.device, tensor.dtype)))


def _reset_of(module: nn.Module) -> Any:
    """What draws a module's parameters; None where nothing does."""
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _drawn_in(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.is_floating_point() else tensor.dtype


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    """The values as a parameter, where the tensor is one."""
    return nn.Parameter(values.detach(), tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values
