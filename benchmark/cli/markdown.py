"""How the pages of reference are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from types import FunctionType
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type[Any] | FunctionType)


def paragraphs(documented: Any) -> list[str]:
    """The paragraphs of a docstring, one line each, so that no line begins like a list or a heading; a list keeps its
    items."""
    text = inspect.cleandoc(documented.__doc__ or "")
    parts = [re.split(r"\n(?=- )", part) for part in text.split("\n\n") if part]
    return ["\n".join(" ".join(item.split()) for item in part) for part in parts]


def by_module(kinds: Iterable[Kind]) -> dict[str, list[Kind]]:
    """Classes or functions by the module that defines them, in their order."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds:
        found.setdefault(kind.__module__, []).append(kind)
    return found
