"""What is random in a probe: drawn on the CPU, from the seed of an image or of a metric, in the same way everywhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[..., Tensor]
"""`torch.rand`, or the like."""


def source(first: int, second: int) -> torch.Generator:
    """What draws from two seeds, as an image's and a metric's."""
    return torch.Generator().manual_seed((first * 1_000_003 + second) % 2**63)


def drawn_for_each(draw: Draw, images: Tensor, seeds: Tensor, seed: int) -> Tensor:
    """Numbers in the images' shape (float64), from the seed of each and from a `seed` for all."""
    shape = images.shape[1:]
    return torch.stack([draw(shape, generator=source(each, seed), dtype=torch.float64) for each in seeds.tolist()])


def drawn_for_samples(draw: Draw, image: Tensor, of_image: int, seed: int, samples: range) -> Tensor:
    """Numbers in an image's shape for some samples (n×3×H×W): each sample has a generator of its own, so that any may
    be drawn alone."""
    sources = [source(of_image, seed * 10_007 + sample) for sample in samples]
    return torch.stack([draw(image.shape, generator=each, dtype=torch.float32) for each in sources]).to(image)
