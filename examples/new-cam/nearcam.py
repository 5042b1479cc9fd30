"""NearCAM: a class activation map that weighs channels cell by cell, by the gradients nearby."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from camfaith.methods import GradientCAM


class NearCAM(GradientCAM):
    """w_k at a cell is the mean of g^k over the `window` × `window` cells around it, as far as the grid goes.

    GradCAM takes the mean over all cells, HiResCAM a cell's own gradient: this lies between them.
    """

    name = "nearcam"
    window: ClassVar[int] = 5
    """An odd number of cells."""

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return F.avg_pool2d(gradients, self.window, stride=1, padding=self.window // 2, count_include_pad=False)
