"""What is not defined for an image, as against what went wrong."""


class NotApplicable(ValueError):
    """Raised where a method or metric has no meaning for a case (no mask, another head, no ReLU to guide)."""
