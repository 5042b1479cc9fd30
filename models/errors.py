"""The error for what is not defined, as against what went wrong, and what is told of any other."""

from __future__ import annotations

import traceback


class NotApplicable(ValueError):
    """Raised where a method or metric has no meaning for a case (no mask, another head, no ReLU to guide)."""


def told(error: BaseException) -> str:
    """An error's kind and text, such that it can be written anywhere, whatever the error does when it is asked."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(error: object) -> str:
    """Somebody else's text, without what no file takes, and cut where it is endless."""
    try:
        text = str(error)
    except Exception as another:
        text = f"its text cannot be had, since {type(another).__name__} is raised"
    return text.encode("utf-8", "replace").decode()[:4000]


def traced(error: BaseException) -> str:
    """The same with the file and the line in which it was raised, and below it how the call came there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    first, *_ = told(error).splitlines() or [""]
    whole = "".join(traceback.format_exception(error)).encode("utf-8", "replace").decode()
    return f"{first}{where}\n\n{whole}"
