"""Weights from a file, read without running code that it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def is_checkpoint(weights: str) -> bool:
    """Whether it names a file of weights, by its ending."""
    return weights.endswith((".safetensors", ".pth", ".pt"))


def with_weights(network: nn.Module, name: str, weights: str, *, but: Sequence[str] = ()) -> nn.Module:
    """Load the weights in a file into the network, called `name`, except those of the layers in `but`; `"none"` leaves
    it as it is.

    Raises `ValueError` for weights that do not fit.
    """
    if weights == "none":
        return network
    if not is_checkpoint(weights):
        raise ValueError(f"weights of {name!r}: expected a .safetensors, .pth or .pt file or 'none', got {weights!r}")
    state = read_state(Path(weights))
    own = tuple(f"{layer}." for layer in but)
    state = {key: value for key, value in state.items() if not key.startswith(own)}
    state |= {key: value for key, value in network.state_dict().items() if key.startswith(own)}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit {name!r}: {error}") from error
    if missing or unexpected:
        raise ValueError(
            f"{weights} does not fit {name!r}: missing {missing[:3] or 'none'} ({len(missing)} in all), "
            f"unexpected {unexpected[:3] or 'none'} ({len(unexpected)} in all)"
        )
    return network


def read_state(path: Path) -> dict[str, Any]:
    """The state dict in a file, or in a checkpoint in it (`state_dict`, `model`), without the prefixes of wrappers."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        raise ValueError(
            f"{path} cannot be read, or is no plain state dict (code in a file is not run); "
            "save network.state_dict() there"
        ) from error
    for key in _KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    tensors: Any = isinstance(state, dict) and [value for value in state.values() if isinstance(value, Tensor)]
    if not tensors or not all(isinstance(key, str) for key in state):
        raise ValueError(f"{path} holds no state dict (names to tensors); save network.state_dict() there")
    if any(value.is_complex() for value in tensors):
        raise ValueError(f"{path} holds complex weights, of which a network would take the real part alone")
    for prefix in _PREFIXES * 2:  # of a compiled network in parallel, or a parallel one compiled
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def require_finite(name: str, network: nn.Module) -> None:
    """Raises `ValueError` if the network's weights hold NaN or infinite values."""
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            continue
        if value.is_complex():
            raise ValueError(f"weights of {name!r} are complex in {key!r}; scores and maps are real numbers")
        if value.is_floating_point() and not torch.isfinite(value).all():
            count = int((~torch.isfinite(value)).sum())
            raise ValueError(f"weights of {name!r} hold {count} NaN or infinite values in {key!r}; load sound ones")
