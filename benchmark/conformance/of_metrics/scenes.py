"""What metrics are shown: images before a network, maps of them, and all that a metric may want to know beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.networks import colour_reader, small
from camfaith.benchmark.conformance.trials import Trial
from camfaith.models import Classifier, Evidence

DARK, WEIGHT = 0.5, 100.0
"""The truth's network sees what is brighter, and this is what a bright image would be worth."""


@dataclass(frozen=True)
class Scene:
    """B images with a target, a map, a seed and masks each. `method` makes the maps of altered images, in the size of
    `maps`; `other` are the maps of another method."""

    network: nn.Module
    images: Tensor
    targets: Tensor
    maps: Tensor
    other: Tensor
    seeds: Tensor
    masks: Tensor
    contents: Tensor
    method: Method
    layer: str | None = None
    contributions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def tensors(self) -> dict[str, Tensor]:
        every = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in every.items() if isinstance(value, Tensor)}

    def each(self, change: Callable[[Tensor], Tensor]) -> Scene:
        """The scene with all its tensors changed."""
        changed: dict[str, Any] = {name: change(value) for name, value in self.tensors.items()}
        return replace(self, **changed)

    def select(self, rows: Sequence[int]) -> Scene:
        return self.each(lambda value: value[list(rows)])

    def turned(self) -> Scene:
        """The scene by half a turn: what was at the upper left is at the lower right."""
        return self.each(lambda value: value.flip(-1, -2) if value.ndim > 2 else value)


@dataclass(frozen=True)
class Method:
    """Explains an image by itself, without the network: `shows(images, targets)` are its raw maps, `times` a factor."""

    shows: Callable[[Tensor, Tensor], Tensor]
    times: float = 1.0
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:  # noqa: ARG002 - as methods are called
        wrong = 0 * evidence.logits.sum(1).to(evidence.images)  # NaN where the network gives NaN, as gradients have it
        return self.times * self.shows(evidence.images, evidence.targets) + wrong[:, None, None]


def noise(trial: Trial, *, grid: tuple[int, int] | None = None, **changes: Any) -> Scene:
    """Noise before a network of random weights, with maps of noise, above and below 0; `grid` is their size."""
    images, source = trial.images(), torch.Generator().manual_seed(1000 + trial.seed)
    size = grid or (trial.height, trial.width)
    drawn = torch.rand(2, trial.batch, *size, generator=source, dtype=torch.float64)
    contributions = torch.rand(trial.batch, 6, generator=source, dtype=torch.float64)
    even = trial.seed % 2 == 0
    scene = Scene(
        small(trial.seed),
        images,
        torch.tensor(trial.targets),
        drawn[0] - 0.3,
        drawn[1],
        seeds_of(trial),
        _objects(trial),
        _contents(trial),
        Method(lambda images, targets: nn.functional.adaptive_avg_pool2d(_for_and_against(images, targets), size)),
        "relu2" if even else None,
        contributions if even else None,
    )
    return replace(scene, **changes)


def truth(trial: Trial) -> Scene:
    """Images of which it is known what the network reads: a bright patch of the class's colour speaks for it, one of
    the colour before against it, pixel by pixel, and all else is dark. `maps` are what each pixel is worth."""
    images, targets = 0.2 * trial.images(), torch.tensor(trial.targets)
    bright = 0.8 + 0.2 * trial.images()
    speaks = torch.zeros(2, trial.batch, trial.height, trial.width, dtype=torch.bool)
    high, wide = trial.height // 3, trial.width // 3
    for row in range(trial.batch):
        top = 1 + (5 * row + trial.seed) % (trial.height - high - 1)
        for kind, left in ((0, 1), (1, trial.width - wide - 1)) if row % 2 else ((1, 1), (0, trial.width - wide - 1)):
            speaks[kind, row, top : top + (high if kind == 0 else high // 2), left : left + wide] = True
            colour = (trial.targets[row] - kind) % 3
            images[row, colour] = torch.where(speaks[kind, row], bright[row, colour], images[row, colour])
    scene = replace(
        noise(trial),
        network=colour_reader(threshold=DARK, weight=WEIGHT, against=WEIGHT),
        images=images,
        targets=targets,
        maps=worths(images, targets),
        masks=speaks[0],
        method=Method(worths),
        layer="relu",
        contributions=_of_channels(images, targets),
    )
    return scene if trial.seed % 2 == 0 else replace(scene, layer=None, contributions=None)


def worths(images: Tensor, targets: Tensor) -> Tensor:
    """What each pixel adds to its class's logit in the truth's network (B×H×W)."""
    return _for_and_against((images - DARK).clamp(min=0), targets) * (WEIGHT / images[0, 0].numel())


def brightness(images: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001 - as a `Method` shows things
    return images.mean(1)


def seeds_of(trial: Trial) -> Tensor:
    return trial.seed + torch.arange(trial.batch)


def _for_and_against(images: Tensor, targets: Tensor) -> Tensor:
    """Each image's colour of its class, less the colour before it (B×H×W)."""
    rows = torch.arange(len(images))
    return images[rows, targets] - images[rows, targets - 1]


def _of_channels(images: Tensor, targets: Tensor) -> Tensor:
    """What each channel of `relu` adds to the class's logit (B×3)."""
    rows, seen = torch.arange(len(images)), WEIGHT * (images - DARK).clamp(min=0).mean((2, 3))
    signs = torch.zeros_like(seen)
    signs[rows, targets], signs[rows, targets - 1] = 1, -1
    return signs * seen


def _objects(trial: Trial) -> Tensor:
    """Two objects an image, in other columns from image to image."""
    masks = torch.zeros(trial.batch, trial.height, trial.width, dtype=torch.bool)
    for row in range(trial.batch):
        masks[row, 1:3, :2] = masks[row, -3:-1, :3] = True
        masks[row] = masks[row].roll(row, 1)
    return masks


def _contents(trial: Trial) -> Tensor:
    """All but the outermost pixels."""
    inside = torch.zeros(trial.batch, trial.height, trial.width, dtype=torch.bool)
    inside[:, 1:-1, 1:-1] = True
    return inside
