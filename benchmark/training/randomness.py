"""What is random in a training, drawn anew from the seed, the epoch and the batch: nothing depends on what was drawn
before, so a training that was killed goes on as if it had not been."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Balance = Literal["weights", "sampler", "none"]


def key(*numbers: int) -> int:
    """A seed for torch out of several numbers, alike for no two lists of them."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batches(labels: NDArray[np.int64], batch: int, seed: int, epoch: int, *, balanced: bool) -> list[list[int]]:
    """The rows of each batch of an epoch, in an order that the seed and the epoch draw.

    Batches are equally large, give or take one picture, and none is larger than `batch`, of 3 or more: a last one of a
    single picture would have no variance for batch norm. With `balanced`, as many rows as there are are drawn with
    replacement, each with the probability 1 / (C n_c), n_c being how many pictures its class has and C the classes that
    have one.
    """
    draw, count = np.random.default_rng([seed, epoch]), len(labels)
    order = draw.permutation(count)
    if balanced:
        share = 1 / np.bincount(labels)[labels]
        order = draw.choice(count, count, p=share / share.sum())
    return [rows.tolist() for rows in np.array_split(order, math.ceil(count / batch))]


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """w_c = N / (C n_c), 0 for a class without a picture; C counts the others."""
    counts = np.bincount(labels, minlength=classes)
    weights = np.divide(len(labels), (counts > 0).sum() * counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights).float()


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed while a network learns. What turning and zooming bring in from outside mirrors the
    picture: black corners would be a mark that only training pictures have."""

    turn: float = 15.0
    """Degrees, to either side."""
    upside_down: bool = False
    """Whether pictures are flipped from top to bottom, too, and not only from left to right."""
    zoom: float = 0.1
    """The scale lies between 1 − zoom and 1 + zoom."""
    light: float = 0.15
    """All colours are multiplied by the same number, between 1 − light and 1 + light. Black stays black."""
    colour: float = 0.05
    """Each colour is also multiplied by a number of its own, between 1 − colour and 1 + colour."""

    def __call__(self, images: Tensor, chances: Tensor) -> Tensor:
        """Images in [0, 1] (B×C×H×H), changed by as many `chances` as `chances_for` says, each in [0, 1) (B×K)."""
        turn, zoom, sideways, upside_down, light, *colours = (2 * chances - 1).T
        angle, scale = turn * self.turn * math.pi / 180, 1 / (1 + zoom * self.zoom)
        across = torch.where(sideways < 0, -scale, scale)
        down = torch.where(upside_down < 0, -scale, scale) if self.upside_down else scale
        cos, sin, still = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = [across * cos, -across * sin, still, down * sin, down * cos, still]
        places = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
        moved = F.grid_sample(images, places, padding_mode="reflection", align_corners=False)
        gain = (1 + light * self.light)[:, None] * (1 + torch.stack(colours, 1) * self.colour)
        changed: Tensor = (moved * gain[:, :, None, None]).clamp(0, 1)
        return changed


def chances_for(colours: int) -> int:
    """How many numbers `Augmentation` takes for an image of so many colours."""
    return 5 + colours
