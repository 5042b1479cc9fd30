"""How the pages of reference are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any


def paragraphs(documented: Any) -> list[str]:
    """The paragraphs of a docstring, one line each, so that no line begins like a list or a heading; a list keeps its
    items."""
    text = inspect.cleandoc(documented.__doc__ or "")
    parts = [re.split(r"\n(?=- )", part) for part in text.split("\n\n") if part]
    return ["\n".join(" ".join(item.split()) for item in part) for part in parts]


def by_module(kinds: Iterable[type[Any]]) -> dict[str, list[type[Any]]]:
    """Classes by the module that defines them, in their order."""
    found: dict[str, list[type[Any]]] = {}
    for kind in kinds:
        found.setdefault(kind.__module__, []).append(kind)
    return found
