"""Zones of a plane: its corners and its border, for images and for a layer's cells alike."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 6
"""A corner is one cell of a grid of so many rows and columns, unless a setting says otherwise."""


def corners(height: int, width: int, cells: int = CELLS) -> Tensor:
    """The four corner cells of a `cells`×`cells` grid, each at least one pixel high and wide (H×W, bool)."""
    rows, columns = _ends(height, round(height / cells)), _ends(width, round(width / cells))
    return rows[:, None] & columns


def border(height: int, width: int, cells: int = CELLS) -> Tensor:
    """A band along all sides, 1/(2·`cells`) of each side wide and at least one pixel (H×W, bool)."""
    rows, columns = _ends(height, round(height / (2 * cells))), _ends(width, round(width / (2 * cells)))
    return rows[:, None] | columns


def _ends(side: int, reach: int) -> Tensor:
    along, reach = torch.arange(side), max(1, reach)
    return (along < reach) | (along >= side - reach)
