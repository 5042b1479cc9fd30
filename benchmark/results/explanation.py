"""What several methods say of one picture for several classes: their maps, and each map as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Signs = Literal["", "before ReLU", "after ReLU", "unsigned"]
"""What a reader must know of a map's signs: the ReLU that ends the method's definition is still to come, or it was
applied, or the signs say nothing; "" where there is nothing to know."""


@dataclass(frozen=True)
class ClassScore:
    """A class that is explained, its probability where the model gives one, and its score."""

    index: int
    name: str
    probability: float | None
    predicted: bool
    score: float


@dataclass(frozen=True)
class Panel:
    """One method's map for one class: as the method gave it (h×w), and over the picture. Both are None where there is
    no map.

    `note` says why there is no map, or what a reader must know of it. `cut` says that the colours end at a quantile of
    the map's values (`display.QUANTILE`), not at the greatest. `signs` is set where both signs are drawn.
    """

    raw: NDArray[np.floating] | None
    picture: Image.Image | None
    note: str = ""
    cut: bool = False
    signs: Signs = ""


@dataclass(frozen=True)
class Explanation:
    """`panels[method, class index]`, the picture as the model saw it, and the colours from least to most (`scale`).

    `signed` says whether each map is drawn with both signs, from −max|M| to max|M|, or with its positive part alone,
    from least to most.
    """

    name: str
    picture: Image.Image
    model: str
    layers: Sequence[str]
    methods: Sequence[str]
    classes: Sequence[ClassScore]
    panels: Mapping[tuple[str, int], Panel]
    signed: bool
    scale: Image.Image

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Methods without a map, and why."""
        return list(dict.fromkeys((method, p.note) for (method, _), p in self.panels.items() if p.picture is None))
