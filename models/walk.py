"""The modules of a network, and which of them run outside Python."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.jit._script import RecursiveScriptModule

from camfaith.models.errors import NotApplicable


def every_module(network: nn.Module) -> list[nn.Module]:
    """`network.modules()` in a quarter of the time, which counts for small networks and on fast devices."""
    found = [network]
    known = {network}
    for module in found:
        for part in module._modules.values():
            if part is not None and part not in known:
                known.add(part)
                found.append(part)
    return found


def without_wrappers(name: str) -> str:
    """A module's dotted name without what `torch.compile` puts into it."""
    return ".".join(step for step in name.split(".") if step != "_orig_mod")


def in_python(network: nn.Module) -> AbstractContextManager[object]:
    """Runs the modules that are compiled, in a wrapper or in place, as plain Python in the block: compiled code that
    torch keeps from an earlier call passes hooks over."""
    for module in every_module(network):
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
            return eager
    return nullcontext()


def is_scripted(module: nn.Module) -> bool:
    """Whether it is TorchScript that takes no hooks: scripted, frozen or loaded. A traced module takes them, but its
    parts do not run in Python."""
    return isinstance(module, RecursiveScriptModule)


def require_python(network: nn.Module) -> None:
    """Raises `NotApplicable` if a part of the network is TorchScript, which shows nothing of what it computes."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in every_module(network)):
        name = next(name for name, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule))
        raise NotApplicable(
            f"what {f'module {name!r}' if name else 'the network'} computes cannot be seen, because it is TorchScript; "
            "give the Python module that it was made from, or take another method"
        )


def require_float(network: nn.Module) -> None:
    """Raises `NotApplicable` if a part of the network is quantised, through which no gradient goes."""
    if why := why_no_gradient(network):
        raise NotApplicable(why)


def why_no_gradient(network: nn.Module) -> str:
    """Says that a part of the network is quantised, and what to do; empty if none is."""
    for module in every_module(network):
        kind = type(module)
        if kind.__module__.startswith("torch.ao.nn.") and "quantized" in kind.__module__.split("."):
            return (
                f"no gradient goes through {type(network).__name__}, a part of which is quantised "
                f"({kind.__module__}.{kind.__name__}); give the network in floating point, or take a method without "
                "gradients, as scorecam, ablationcam, rise or occlusion"
            )
    return ""
