"""The shortcuts that a user may allow."""

from typing import Literal, get_args

Shortcut = Literal["fold", "tf32", "bf16", "compile"]
"""A shortcut may change numbers: `fold` puts batch norms and ReLUs into the convolutions before them, `tf32` and `bf16`
compute less precisely, `compile` runs code that torch's compiler fused."""
SHORTCUTS: tuple[Shortcut, ...] = get_args(Shortcut)
