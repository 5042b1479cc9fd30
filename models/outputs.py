"""Finding the logits in what a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def entries(result: object) -> dict[str | int, Any]:
    """The parts of a tuple, dict or object, each under its name and its place, as far as it has them."""
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, tuple | list):
        names: dict[str | int, Any] = dict(getattr(result, "_asdict", dict)())
        return names | dict(enumerate(result))
    return dict(getattr(result, "__dict__", {}))


def entry(result: object, output: str | int | None, model: str) -> Any:
    """`result`, or its entry `output`; `TypeError` where there is no such entry."""
    if output is None or isinstance(result, Tensor):
        return result
    found = entries(result)
    if output in found:
        return found[output]
    raise TypeError(f"model {model!r} returns a {type(result).__name__} without {output!r}; it has {list(found)}")


def logits_in(result: object, output: str | int | None, model: str) -> Tensor:
    """`result` if it is a tensor, else its entry `output`, or the one named `logits` if `output` is None.

    Raises `TypeError`, which lists what there is, if that is no tensor.
    """
    if isinstance(result, Tensor):
        return result
    found = entries(result)
    logits = found.get("logits" if output is None else output)
    if isinstance(logits, Tensor):
        return logits
    tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    asked = "" if output is None else f" and no tensor at {output!r}"
    advice = ""
    if tensors:
        listed = ", ".join(f"{key!r} ({'×'.join(map(str, value.shape))})" for key, value in tensors.items())
        likely = next((key for key, value in tensors.items() if value.ndim == 2), next(iter(tensors)))
        advice = f"say which entry holds them, as Classifier(net, output={likely!r}), of {listed}; or "
    raise TypeError(
        f"model {model!r} returns a {type(result).__name__}, not a tensor of logits{asked}; "
        f"{advice}wrap it in a module that returns the logits alone"
    )
