"""One picture explained by several methods for several classes: their maps, and each map as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Reading = Literal["", "before ReLU", "after ReLU", "unsigned"]


@dataclass(frozen=True)
class ClassScore:
    """A class that is explained, and what the model gives it."""

    index: int
    name: str
    probability: float
    predicted: bool


@dataclass(frozen=True)
class Panel:
    """One method's map for one class, as the method gave it (h×w) and over the picture; None where there is none.

    `note` says why there is none, or what must be known to read the map. `cut` says that the colours end at a quantile
    of the map's values (`display.QUANTILE`) and not at its greatest. `reading` says what must be known of the signs of
    one that is drawn with both: that it stands before the ReLU that ends the method's definition, or after it where the
    method gives its maps so, or that its sign says nothing; "" where there is no more to be known.
    """

    raw: NDArray[np.floating] | None
    picture: Image.Image | None
    note: str = ""
    cut: bool = False
    reading: Reading = ""


@dataclass(frozen=True)
class Explanation:
    """`panels[method, class index]`, with the picture as the model saw it and the colours from least to most (`scale`).

    `signed` says whether maps are drawn with both signs, from −max|M| to max|M| of each, or from each one's least
    positive part to its most.
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
