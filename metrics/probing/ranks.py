"""The order in which pixels leave: exact, fair among ties, and the same for every method."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from camfaith.models.maps import upsample


def lottery(seeds: Tensor, pixels: int) -> Tensor:
    """A random permutation of the pixels for each seed (B×N): the order in which equal values leave."""
    return torch.stack([torch.randperm(pixels, generator=torch.Generator().manual_seed(s)) for s in seeds.tolist()])


def ranked(maps: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of every pixel of B maps (B×H×W), 0 for the most relevant: B×N, int32; and the tied share of pixels (B).

    Sorting is stable over the random permutations `drawn` (B×N), so equal values come in an order that depends on
    nothing but these, and methods that tie on the same pixels tie alike.
    """
    shuffled = maps.detach().flatten(1).gather(1, drawn)
    values, order = shuffled.sort(dim=1, descending=True, stable=True)
    places = torch.arange(values.shape[1], dtype=torch.int32, device=values.device).expand_as(order)
    result = torch.empty_like(places, memory_format=torch.contiguous_format)
    return result.scatter_(1, drawn.gather(1, order), places), _tied(values)


def ranks_of(values: Tensor, seed: int) -> Tensor:
    """The rank of each of L values, 0 for the highest (L, int32); equal ones come in an order drawn from `seed`."""
    drawn = lottery(torch.tensor([seed]), len(values)).to(values.device)
    return ranked(values[None, None], drawn)[0][0]


def cells_ranked(maps: Tensor, size: tuple[int, int], seeds: Tensor) -> tuple[Tensor, Tensor]:
    """For each pixel of images of H×W, the rank of the cell of a map (B×h×w) that it lies in: B×H×W, int32; and the
    tied share of cells (B).

    Pixel (i, j) lies in the cell (⌊ih/H⌋, ⌊jw/W⌋). Equal cells come in an order drawn from the image's seed. A map with
    more rows or columns than the image, of which some cells would have no pixel, is brought to its size first.
    """
    if maps.shape[1] > size[0] or maps.shape[2] > size[1]:
        maps = upsample(maps, size)
    ranks, ties = ranked(maps, lottery(seeds, maps[0].numel()).to(maps.device))
    rows, columns = (torch.arange(n, device=maps.device) * m // n for n, m in zip(size, maps.shape[1:], strict=True))
    return ranks.view(maps.shape)[:, rows[:, None], columns], ties


def _tied(values: Tensor) -> Tensor:
    """The share of values, in order, that equal a neighbour (B, in [0, 1])."""
    equal = values[:, 1:] == values[:, :-1]
    none = equal.new_zeros(len(values), 1)
    return (torch.cat([equal, none], 1) | torch.cat([none, equal], 1)).to(torch.float64).mean(1)


def fingerprints(rows: Tensor) -> list[tuple[int, int]]:
    """Fingerprints of B rows of numbers (B×N): two sums modulo 2⁶⁴ with fixed random weights.

    Equal rows have equal ones, and rows that differ collide with a probability below 2⁻⁶⁴. Computed where the rows
    are, so that no order leaves the device.
    """
    bits = rows.contiguous()
    if bits.is_floating_point():
        bits = bits.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[bits.element_size()])
    first, second = _weights(bits.shape[1], bits.device)
    whole = bits.to(torch.int64)
    sums = torch.stack([(whole * first).sum(1), (whole * second).sum(1)], 1)
    return [(one, two) for one, two in sums.tolist()]


@lru_cache(maxsize=4)
def _weights(count: int, device: torch.device) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randint(-(2**63), 2**63 - 1, (2, count), generator=source).to(device)


def removed_at(steps: int, pixels: int, device: torch.device | str = "cpu") -> Tensor:
    """How many pixels are gone at each of the points 0 … steps: i·N/steps, rounded up."""
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must lie between 1 and the number of pixels, {pixels}; got {steps}")
    points = torch.arange(steps + 1, device=device)
    return (points * pixels + steps - 1) // steps
