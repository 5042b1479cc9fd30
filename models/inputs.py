"""Networks that take more than images."""

from __future__ import annotations

import inspect

from torch import nn


def other_inputs(network: nn.Module) -> list[str]:
    """What a network's `forward` must be given besides its first argument, the images."""
    given = list(inspect.signature(network.forward).parameters.values())
    bound = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in given[1:] if each.kind in bound and each.default is inspect.Parameter.empty]


def several_inputs(model: str, others: list[str]) -> TypeError:
    """The error for a network that takes `others` too, with a wrapper that fixes them."""
    listed, stored = ", ".join(others), ", ".join(f"self.{other}" for other in others)
    passed = ", ".join(f"{other}=self.{other}" for other in others)
    return TypeError(
        f"model {model!r} takes more than images ({listed}): fix what else it takes in a wrapper, and give that\n"
        "    class Fixed(torch.nn.Module):\n"
        f"        def __init__(self, net, {listed}): super().__init__(); self.net, {stored} = net, {listed}\n"
        f"        def forward(self, images): return self.net(images, {passed})"
    )
