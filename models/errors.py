"""Errors that every room knows, and how any error is told."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Sequence

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib"))


RAISED = (Exception, SystemExit)
"""What somebody else's code may raise and lose its own rows alone; Ctrl-C stops a run."""


class NotApplicable(ValueError):
    """Raised where a method or metric has no meaning for a case (no mask, another head, no ReLU to guide)."""


class LayerError(ValueError):
    """A layer that cannot serve as a target layer; the message says why and what to do."""


def in_one_line(error: BaseException) -> str:
    """An error in one line: its text, after its type where that is no `ValueError`, which is raised to be read."""
    text = " ".join(text_of(error).split())
    known = isinstance(error, ValueError | OSError | ImportError) and not isinstance(error, UnicodeError)
    return text if known and text else ": ".join(filter(None, [type(error).__name__, text]))


def kind_and_text(error: BaseException) -> str:
    """An error's kind and text, such that they can be written anywhere, whatever the error does when it is asked."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(said: object) -> str:
    """The text of somebody else's error, warning or label, without what no file takes, and cut where it is endless."""
    try:
        text = str(said)
    except Exception as another:
        text = f"its text cannot be had, since {type(another).__name__} is raised"
    return text.encode("utf-8", "replace").decode()[:4000]


def traced(error: BaseException) -> str:
    """`kind_and_text` with the file and the line in which it was raised, and below it how the call came there."""
    frames = traceback.extract_tb(error.__traceback__)
    last = own_frame(frames) or next(reversed(frames), None)
    where = f" ({last.filename}, line {last.lineno})" if last else ""
    first, *_ = kind_and_text(error).splitlines() or [""]
    whole = "".join(traceback.format_exception(error)).encode("utf-8", "replace").decode()
    return f"{first}{where}\n\n{whole}"


def own_frame(frames: Sequence[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    """The last frame that lies in no library; None where all do."""
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<frozen"))]
    return own[-1] if own else None
