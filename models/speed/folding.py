"""A copy of a network with fewer and larger steps: a convolution does the work of what follows it too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


def folded(network: nn.Module) -> nn.Module:
    """A traced copy of a network in evaluation mode: its batch norms go into the weights of the convolutions before
    them, its ReLUs as in `with_relus_folded`. Numbers change by rounding. Raises what tracing raises."""
    from torch.fx.experimental.optimization import fuse  # heavy, and seldom asked for

    return with_relus_folded(fuse(network))


def with_relus_folded(network: nn.Module) -> nn.Module:
    """A traced copy that shares the network's weights: each convolution applies the ReLU behind it as it writes its
    output, on a CPU in single precision. Raises what tracing raises, as for a path that depends on the input."""
    found = fx.symbolic_trace(network)
    modules = dict(found.named_modules())
    for relu in [node for node in found.graph.nodes if _is_relu(node, modules)]:
        before = relu.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if convolution is not None and len(before.users) == 1 and _takes_relu(convolution):
            name = f"folded_{before.name}"
            found.add_submodule(name, _ConvolutionReLU(convolution))
            before.target = name
            relu.replace_all_uses_with(before)
            found.graph.erase_node(relu)
    found.delete_all_unused_submodules()
    found.recompile()
    return found


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    return node.target in {"call_function": (F.relu, torch.relu, torch.relu_), "call_method": ("relu", "relu_")}.get(
        node.op, ()
    )


def _takes_relu(module: nn.Module) -> bool:
    """Whether oneDNN, which runs convolutions of single precision on a CPU, can run module and ReLU in one step."""
    if type(module) is not nn.Conv2d or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


class _ConvolutionReLU(nn.Module):
    """ReLU(conv(x)) in one pass over memory, by the operator that torch's own compiler emits for it."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        c: Any = self.convolution
        for look in c._forward_pre_hooks.values():  # the convolution itself is not called
            look(c, (x,))
        if x.dtype != c.weight.dtype or torch.is_autocast_enabled("cpu"):
            return F.relu(c(x))
        done: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, "relu", [], ""
        )
        return done
