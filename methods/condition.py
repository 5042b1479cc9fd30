"""How far the weights of a class activation map that divides move where its activations change by rounding."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

CHANGE = 1e-4
"""The relative change of the activations that is asked about."""
MOST = 0.01
"""Weights that move by more than this share of their size are counted as unstable."""
_GUARDED = "variant='guarded' divides by nothing that can cancel out"
CANCELS = {"cancelling-channel": f"its source divides by a sum that may cancel out; {_GUARDED}"}
"""The check that a formula breaks whose denominator may cancel out."""


def weights_move(weights: Callable[..., Tensor], activations: Tensor, *constants: Tensor) -> Tensor:
    """‖δ‖ / ‖w‖ per image, δ_k = `CHANGE` · Σ_ij |∂w_k/∂A^k_ij| |A^k_ij|: how far each weight moves at most, to first
    order, if every activation changes by that share of itself. w = weights(A, *constants), B×K×1×1, and w_k depends on
    its own channel alone."""
    with torch.inference_mode(False), torch.enable_grad():
        a = activations.detach().clone().requires_grad_()
        w = weights(a, *(constant.detach().clone() for constant in constants))
        (slope,) = torch.autograd.grad(w.sum(), a)
        moved = CHANGE * (slope * a.detach()).abs().sum((2, 3))
        size = w.detach().flatten(1).norm(dim=1)
    return torch.where(size > 0, moved.norm(dim=1) / size, torch.zeros_like(size))


def counted(
    move: Tensor, where: str, so: str = f"some maps are rounding more than image; {_GUARDED}"
) -> dict[str, Tensor]:
    """The columns `weights_move` and `unstable`, which is 1 where that exceeds `MOST`, else 0; warns where any does."""
    unstable = move > MOST
    if bool(unstable.any()):
        told = f"a relative change of {CHANGE:g} in the activations moves the weights by more than {MOST:.0%}"
        warnings.warn(f"{where}: {told}, so {so} (`unstable` counts them)", stacklevel=2)
    return {"weights_move": move, "unstable": unstable.to(move)}
