"""Warnings of methods, metrics, models and readers: heard with whose call they come from, and counted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from camfaith.models.errors import text_of

_open: ContextVar[Counter[str] | None] = ContextVar("open", default=None)


@contextmanager
def hearing() -> Iterator[None]:
    """In the block, warnings that are raised within `heard` are counted there, each time; others are shown as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", append=True)  # behind what Python or the user has said of any kind of warning
        show = warnings.showwarning

        def hear(message: Warning | str, *more: Any, **named: Any) -> None:
            said = _open.get()
            if said is None:
                show(message, *more, **named)
            else:
                said[text_of(message)] += 1

        warnings.showwarning = hear
        yield


@contextmanager
def heard() -> Iterator[Counter[str]]:
    """What is warned of in the block, and how often."""
    said: Counter[str] = Counter()
    token = _open.set(said)
    try:
        yield said
    finally:
        _open.reset(token)


def left(leaks: Iterable[str]) -> Counter[str]:
    """What a call left behind (`Guard`), as warnings."""
    return Counter(f"left, and was undone: {leak}" for leak in leaks)
