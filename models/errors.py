"""Errors that every room knows, and how any error is told in one line."""


class NotApplicable(ValueError):
    """Raised where a method or metric has no meaning for a case (no mask, another head, no ReLU to guide)."""


class LayerError(ValueError):
    """A layer that cannot serve as a target layer; the message says why and what to do."""


def told(error: BaseException) -> str:
    """An error in one line: its text, after its type where that is no `ValueError`, which is raised to be read."""
    text = " ".join(str(error).split())
    known = isinstance(error, ValueError | OSError | ImportError) and not isinstance(error, UnicodeError)
    return text if known and text else ": ".join(filter(None, [type(error).__name__, text]))
