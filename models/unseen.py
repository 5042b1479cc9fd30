"""Why a layer shows nothing in a forward, found out by one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camfaith.models.naming import call_of, shown
from camfaith.models.walk import without_wrappers


def why_unseen(network: nn.Module, layer: str, forward: Callable[[], object]) -> str:
    """Why the hook of a layer did not run in `forward`, and what to do."""
    name = call_of(layer)[0]
    module = shown(network, name)
    ran, parts = Counter[str](), dict[str, None]()
    handles = [module.register_forward_hook(lambda *_: ran.update(["module"]))]
    for inner, part in module.named_modules():
        if part is not module:
            handles.append(part.register_forward_hook(lambda *_, inner=inner: parts.update({inner: None})))
    own, plain = vars(module).get("forward"), module.forward

    def counted(*inputs: Any, **named: Any) -> Any:
        ran.update(["forward"])
        return plain(*inputs, **named)

    try:
        vars(module)["forward"] = counted
        with torch.no_grad(), _Reading(module.parameters(recurse=False)) as reading:
            forward()
    finally:
        vars(module).pop("forward")
        if own is not None:
            vars(module)["forward"] = own
        for handle in handles:
            handle.remove()
    if ran["module"]:
        calls = ran["module"]
        return f"layer {layer!r}: {name!r} runs {calls} time{'s' * (calls > 1)} in a forward; name a call up to {calls}"
    if ran["forward"]:
        return f"layer {layer!r} is run by its `forward`, which shows hooks nothing; let the network call {name}(...)"
    if parts:
        likely = without_wrappers(f"{name}.{next(reversed(parts))}")
        return f"layer {layer!r} does not run itself, its parts do; name one, as {likely!r}"
    if reading.by:
        return f"layer {layer!r} does not run itself, {reading.by} reads its weights; name the module around it"
    return f"layer {layer!r} does not run in evaluation mode; name one on the way to the score"


class _Reading(TorchFunctionMode):
    """Notes the function that is given one of these parameters."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.by = ""
        self._known = set(map(id, parameters))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = (*args, *(kwargs or {}).values())
        if not self.by and any(isinstance(value, Tensor) and id(value) in self._known for value in values):
            self.by = getattr(func, "__name__", str(func))
        return func(*args, **(kwargs or {}))
