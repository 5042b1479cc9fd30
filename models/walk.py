"""From a network to all that is in it."""

from __future__ import annotations

import torch
from torch import nn
from torch.jit._script import RecursiveScriptModule

from camfaith.models.errors import NotApplicable


def every_module(network: nn.Module) -> list[nn.Module]:
    """`network.modules()` in a quarter of its time, which counts where a network is small or its device fast."""
    found = [network]
    known = {network}
    for module in found:
        for part in module._modules.values():
            if part is not None and part not in known:
                known.add(part)
                found.append(part)
    return found


def is_scripted(module: nn.Module) -> bool:
    """Whether it is TorchScript that takes no hooks: scripted, frozen or loaded. What is traced takes them, its parts
    do not run in Python."""
    return isinstance(module, RecursiveScriptModule)


def require_python(network: nn.Module) -> None:
    """`NotApplicable` where something in the network is TorchScript, and shows nothing of what it computes."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in every_module(network)):
        name = next(name for name, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule))
        raise NotApplicable(
            f"what {f'module {name!r}' if name else 'the network'} computes cannot be seen, because it is TorchScript; "
            "give the Python module that it was made from, or take another method"
        )
