"""The error for what is not defined, as against what went wrong."""


class NotApplicable(ValueError):
    """Raised where a method or metric has no meaning for a case (no mask, another head, no ReLU to guide)."""
