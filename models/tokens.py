"""Where the cells of a layer's output lie on the image: B×K×h×w, channels last, or a row of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from camfaith.models.errors import NotApplicable
from camfaith.models.walk import every_module

Form = Literal["B×K×h×w", "B×h×w×K", "B×T×K"]


@dataclass(frozen=True)
class Grid:
    """h×w cells in an output of this form. The first `prefix` of T tokens (class, distillation, registers) have no
    place on the image. If they are `merged`, as many tokens as a convolution's cells would be, merged two by two."""

    height: int
    width: int
    form: Form = "B×K×h×w"
    prefix: int = 0
    merged: bool = False

    @property
    def cells(self) -> int:
        return self.height * self.width

    def of(self, output: Tensor) -> Tensor:
        """The cells of an output, B×K×h×w."""
        if self.form == "B×K×h×w":
            return output
        if self.form == "B×h×w×K":
            return output.permute(0, 3, 1, 2)
        return torch.unflatten(output[:, self.prefix :].mT, 2, (self.height, self.width))

    def into(self, output: Tensor, cells: Tensor) -> Tensor:
        """`output` with these cells in place of its own: N×K×h×w, where N is B, or any number if B is 1."""
        if self.form == "B×K×h×w":
            return cells
        if self.form == "B×h×w×K":
            return cells.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.prefix].expand(len(cells), -1, -1), cells.flatten(2).mT], 1)


class GridFinder:
    """Finds where outputs lie from what a forward has shown: its images' number and size, its convolutions' grids."""

    def __init__(self, widths: set[int], *, tokens_first: bool = False) -> None:
        self.count, self.size = 1, (1, 1)
        self._grids: set[tuple[int, int]] = set()
        self._padded: set[tuple[int, int]] = set()
        self._widths = widths  # what the network's linear layers take, always on the last axis
        self._tokens_first = tokens_first  # whether rows may be T×B×K

    def begin(self, images: Tensor) -> None:
        self.count, self.size = len(images), (images.shape[-2], images.shape[-1])
        self._grids.clear()
        self._padded.clear()

    def note(self, output: Tensor, *, padded: bool = False) -> None:
        """Notes the grid of a convolution; `padded` if its cells reach beyond the image."""
        if len(output) == self.count:
            grid = output.shape[-2], output.shape[-1]
            self._grids.add(grid)
            if padded:
                self._padded.add(grid)

    def pads(self, convolution: nn.Conv2d, given: Tensor) -> bool:
        """Whether a convolution into patches is given the image with a border of less than a patch."""
        more = [g - own for g, own in zip(given.shape[-2:], self.size, strict=True)]
        return any(more) and all(0 <= m < side for m, side in zip(more, convolution.kernel_size, strict=True))

    def grid(self, output: Tensor) -> Grid | None:
        """Where the cells of a layer's output lie; None if it has none, or if its first axis is not the images'.

        Four axes are B×h×w×K if the last is as long as a linear layer is wide, and the two before it fit the image's
        proportions better than the last two do; else B×K×h×w. T tokens are the h·w cells of a convolution, the patch
        embedding or a later one, behind T − h·w other tokens. It is the convolution that leaves the fewest others, and
        these are fewer than its cells. Where none fits, T tokens are the cells of a convolution merged two by two in
        both directions, once or more. If a network may put its tokens first, as many tokens as images have no place.
        Raises `NotApplicable` for tokens whose patches reach beyond the image: a map stretched to it would be off.
        """
        shape = tuple(output.shape)
        if shape[:1] != (self.count,):
            return None
        if len(shape) == 4:
            first, last = (shape[2], shape[3]), (shape[1], shape[2])
            if shape[3] in self._widths and self._misfit(*last) < self._misfit(*first):
                return Grid(*last, "B×h×w×K")
            return Grid(*first)
        if len(shape) == 3 and not (self._tokens_first and shape[0] == shape[1]):
            return self._rows(shape[1], shape[2])
        return None

    def _rows(self, tokens: int, channels: int) -> Grid | None:
        fitting = [(h * w, h, w) for h, w in self._grids if 1 < h * w <= tokens < 2 * h * w]
        if fitting:
            cells, height, width = max(fitting)
            self._require_whole(height, width)
            return Grid(height, width, "B×T×K", tokens - cells)
        merged = {_merged(grid, tokens): grid for grid in self._grids}
        sides = min((s for s in merged if s[0] * s[1] == tokens > 1), key=lambda s: self._misfit(*s), default=None)
        if sides is None or channels == 1:
            return None
        self._require_whole(*merged[sides])
        return Grid(*sides, "B×T×K", merged=True)

    def _require_whole(self, height: int, width: int) -> None:
        if (height, width) in self._padded:
            raise NotApplicable(
                f"expected images that are cut into whole patches; those of {self.size[0]}×{self.size[1]} are "
                f"padded to make {height}×{width}, and no map would lie where it belongs: resize or crop them"
            )

    def _misfit(self, height: int, width: int) -> float:
        return abs(math.log(height * self.size[1] / (width * self.size[0])))


def _merged(grid: tuple[int, int], cells: int) -> tuple[int, int]:
    """The sides of a grid after its cells were merged two by two, until there are no more than `cells`."""
    height, width = grid
    while height * width > cells:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


@contextmanager
def watched(network: nn.Module, *, all_grids: bool = True) -> Iterator[GridFinder]:
    """Shows every forward of the block to a finder.

    The convolutions' grids are needed for rows of tokens alone, and watching them costs time: without `all_grids` they
    are left out if no module makes rows likely.
    """
    widths, convolutions, tokens_first, linear = set(), [], False, 0
    for module in every_module(network):
        if isinstance(module, nn.Conv2d):
            convolutions.append(module)
        elif isinstance(module, nn.Linear):
            widths.add(module.in_features)
            linear += 1
        elif isinstance(module, nn.MultiheadAttention):
            tokens_first = tokens_first or not module.batch_first
            all_grids = True
        elif isinstance(module, nn.LayerNorm):
            all_grids = True
    finder = GridFinder(widths, tokens_first=tokens_first)

    def note(_convolution: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        finder.note(output)

    def note_patches(convolution: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        finder.note(output, padded=bool(inputs) and finder.pads(convolution, inputs[0]))

    handles = [network.register_forward_pre_hook(lambda _module, inputs: finder.begin(inputs[0]))]
    for module in convolutions if all_grids or linear > 1 else ():
        cuts = module.stride == module.kernel_size != (1, 1)
        handles.append(module.register_forward_hook(note_patches if cuts else note))
    try:
        yield finder
    finally:
        for handle in handles:
            handle.remove()
