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
    """h×w cells in an output of this form; of T tokens the first `prefix` (class, distillation, registers) have no
    place on the image."""

    height: int
    width: int
    form: Form = "B×K×h×w"
    prefix: int = 0

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
        """An output like `output` with these cells (N×K×h×w, N being B, or any number where B is 1) for its own."""
        if self.form == "B×K×h×w":
            return cells
        if self.form == "B×h×w×K":
            return cells.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.prefix].expand(len(cells), -1, -1), cells.flatten(2).mT], 1)


class GridFinder:
    """What a forward has shown so far: the number and size of its images, and the grids of its convolutions."""

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
        """What a convolution gives; `padded` where its cells reach beyond the image."""
        if len(output) == self.count:
            grid = output.shape[-2], output.shape[-1]
            self._grids.add(grid)
            if padded:
                self._padded.add(grid)

    def pads(self, convolution: nn.Conv2d, given: Tensor) -> bool:
        """Whether a convolution into patches cuts what has grown from the image by less than a patch."""
        more = [g - own for g, own in zip(given.shape[-2:], self.size, strict=True)]
        return any(more) and all(0 <= m < side for m, side in zip(more, convolution.kernel_size, strict=True))

    def grid(self, output: Tensor) -> Grid | None:
        """Where the cells of a layer's output lie, None where it has none, or where its first axis is not the images'.

        Four axes are B×h×w×K where the last is as long as a linear layer is wide and the two before it fit the image's
        proportions better than the last two do; else B×K×h×w. T tokens are the cells of a convolution, the patch
        embedding's or a later one's, behind T − h·w others: of the convolution that leaves fewest over, and fewer than
        it has cells. Of as many tokens as images none have a place in a network that may put its tokens first.
        `NotApplicable` for tokens whose patches reach beyond the image: a map stretched to it would be off.
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
            fitting = [(h * w, h, w) for h, w in self._grids if 1 < h * w <= shape[1] < 2 * h * w]
            if fitting:
                cells, height, width = max(fitting)
                if (height, width) in self._padded:
                    raise NotApplicable(
                        f"expected images that are cut into whole patches; those of {self.size[0]}×{self.size[1]} are "
                        f"padded to make {height}×{width}, and no map would lie where it belongs: resize or crop them"
                    )
                return Grid(height, width, "B×T×K", shape[1] - cells)
        return None

    def _misfit(self, height: int, width: int) -> float:
        return abs(math.log(height * self.size[1] / (width * self.size[0])))


@contextmanager
def watched(network: nn.Module, *, all_grids: bool = True) -> Iterator[GridFinder]:
    """Shows every forward of the block to a finder. Without `all_grids` the convolutions' grids, which rows of tokens
    alone need, are left out where no module makes rows likely: to watch them costs time."""
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
