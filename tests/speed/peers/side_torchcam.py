"""torchcam's users: average drop with increase, and deletion with insertion.

Its metrics take an extractor. It has four of the eight CAMs, so here the extractor hands over maps that are there
already, without a backward: less than its own would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric
from work import STEPS, Side

BATCH = 8  # of 4, 8, 16, 32, 64 and 128; its default is 32


class GivenMaps:
    """An extractor, as torchcam's metrics want one, of maps that are given."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, class_idx: object, scores: Tensor) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    @contextmanager
    def _hooks_off(self) -> Iterator[None]:
        yield


if __name__ == "__main__":
    side = Side.of_command_line()
    work = side.start()
    softmax = partial(torch.softmax, dim=-1)

    def mean_over_images(kind: type, method: str, **settings: int) -> dict[str, list[float]]:
        """It keeps sums, not one value per image."""
        metric = kind(GivenMaps(work.network, torch.from_numpy(work.maps[method])), softmax, **settings)
        metric.update(work.images, work.targets)
        return {column: [value] for column, value in metric.summary().items()}

    with torch.no_grad():
        side.judge("average-drop", partial(mean_over_images, ClassificationMetric))
        side.judge(
            "deletion-insertion", partial(mean_over_images, DeletionInsertionMetric, steps=STEPS, batch_size=BATCH)
        )
    side.write()
