"""The order in which pixels leave: exact, fair among ties, and the same for every method."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(maps: Tensor, seeds: Tensor) -> Tensor:
    """Rank of every pixel of B maps (B×H×W), 0 for the most relevant: B×N, int32.

    Sorting is stable over a random permutation drawn from each image's seed, so equal values come in an order that
    depends on nothing but the seed, and methods that tie on the same pixels tie alike.
    """
    flat = maps.detach().flatten(1)
    result = torch.empty(flat.shape, dtype=torch.int32, device=flat.device)
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device)
    for row, seed in enumerate(seeds.tolist()):
        shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
        order = flat[row, shuffled].argsort(descending=True, stable=True)
        result[row, shuffled[order]] = places
    return result


def tie_fraction(maps: Tensor) -> Tensor:
    """The share of pixels whose value another pixel of the same map has too (B, in [0, 1])."""
    flat = maps.flatten(1).sort(1).values
    equal = flat[:, 1:] == flat[:, :-1]
    none = equal.new_zeros(len(flat), 1)
    tied = torch.cat([equal, none], 1) | torch.cat([none, equal], 1)
    return tied.to(torch.float64).mean(1)


def removed_at(steps: int, pixels: int, device: torch.device | str = "cpu") -> Tensor:
    """How many pixels are gone at each of the points 0 … steps: i·N/steps, rounded up."""
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must lie between 1 and the number of pixels, {pixels}; got {steps}")
    points = torch.arange(steps + 1, device=device)
    return (points * pixels + steps - 1) // steps
