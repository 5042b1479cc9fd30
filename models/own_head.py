"""A head of somebody's own, and any head by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from camfaith.models.errors import kind_and_text
from camfaith.models.heads import HEADS, Head
from camfaith.models.lookup import UnknownName, load_attribute


class OwnHead(Head):
    """A function of one's own, from whatever the network returns to scores (B×C).

    Its attribute `probabilities`, if it has one, is a function of the scores (B×C → B×C).
    """

    def __init__(self, function: Callable[[Any], Tensor], name: str) -> None:
        self.function = function
        self.label = name
        self.gives_probabilities = callable(getattr(function, "probabilities", None))

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.label

    def scores(self, outputs: Any, model: str) -> Tensor:
        try:
            found = self.function(outputs)
        except (TypeError, LookupError, AttributeError, ValueError) as error:
            raise ValueError(
                f"head {self.name!r} fails on what model {model!r} gives: {kind_and_text(error)}"
            ) from error
        if not isinstance(found, Tensor):
            raise TypeError(f"head {self.name!r} gives a {type(found).__name__}; expected a tensor of scores, B×C")
        if found.ndim != 2 or found.shape[1] == 0:
            shape = "×".join(map(str, found.shape)) or "a single number"
            raise ValueError(f"head {self.name!r} gives shape {shape} for model {model!r}; expected scores, B×C")
        return found

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return self.probabilities(scores).log()

    def probabilities(self, scores: Tensor) -> Tensor:
        self.require_probabilities()
        found: Tensor = self.function.probabilities(scores)  # type: ignore[attr-defined]
        if not isinstance(found, Tensor) or found.shape != scores.shape:
            got = "×".join(map(str, found.shape)) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"head {self.name!r} gives probabilities of {got}; expected {len(scores)}×{scores.shape[1]}"
            )
        return found


def head_of(head: str | Head | Callable[[Any], Tensor]) -> Head:
    """The head of that name, or a function of one's own, itself or as `package.module:function` or `file.py:function`.

    Raises `UnknownName` for a name that nothing has, `TypeError` for what is no function.
    """
    if isinstance(head, Head):
        return head
    if not isinstance(head, str):
        return OwnHead(_function(head, "head"), getattr(head, "__qualname__", type(head).__name__))
    if head in HEADS:
        return HEADS[head]
    if ":" not in head:
        raise UnknownName("head", head, HEADS, "or name a function of your own as 'package.module:function'")
    found = load_attribute(head)
    return found if isinstance(found, Head) else OwnHead(_function(found, head), head)


def _function(found: Any, name: str) -> Callable[[Any], Tensor]:
    if isinstance(found, type):
        found = found()
    if isinstance(found, torch.nn.Module):
        raise TypeError(f"{name} is a {type(found).__name__}, which has a state: make it part of the network instead")
    if not callable(found):
        raise TypeError(f"{name} is a {type(found).__name__}; expected a function from the network's outputs to B×C")
    function: Callable[[Any], Tensor] = found
    return function
