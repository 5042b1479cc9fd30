"""Other pictures of the data set, for baselines and metrics that compare an image with its like."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from camfaith.models.arrays import tensor_of
from camfaith.models.settings import Count, settle_fields

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Pool:
    """So many `pictures` of the data set, the first in the order in which a run takes them: more samples change none.

    A metric, or a baseline, that needs other pictures has `pool: Any = 16`, how many. A suite fills it, and reads the
    pictures when they are first asked for; who calls the metric alone gives them, `pool=images` (K×3×H×W in [0, 1]).
    Pools with the same `digest` are equal: it stands for the pictures themselves, or for the samples that they are of.
    """

    pictures: Count = 16
    digest: str = ""
    read: Callable[[], Sequence[Tensor]] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        settle_fields(self)

    @classmethod
    def of(cls, images: Any) -> Pool:
        """The pool of these images: K×3×H×W, or a list of K images, which may differ in size."""
        given = [tensor_of(image, "pool").detach().cpu().to(torch.float32, copy=True) for image in images]
        if not given or any(image.ndim != 3 for image in given):
            raise ValueError(f"pool: expected K ≥ 1 images of shape 3×H×W, got {[tuple(i.shape) for i in given]}")
        content = hashlib.sha256()
        for image in given:
            content.update(str(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes())
        return cls(len(given), content.hexdigest()[:16], partial(list, given))

    @cached_property
    def _read(self) -> Sequence[Tensor]:
        if self.read is None:
            raise ValueError(
                "there is no pool of pictures: a suite takes it from the data set; who calls the metric, or makes the "
                "baseline, alone gives it, as pool = images (K×3×H×W in [0, 1])"
            )
        return self.read()

    def images(self, like: Tensor) -> Tensor:
        """The pictures (K×3×H×W) at the size of the images `like` (…×3×H×W), on their device, in their precision."""
        size = like.shape[-2:]
        fitting = [
            picture
            if picture.shape[1:] == size
            else F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
            for picture in self._read
        ]
        if any(len(picture) != like.shape[-3] for picture in fitting):
            raise ValueError(f"the pool's pictures have {len(fitting[0])} colours, the images {like.shape[-3]}")
        return torch.stack(fitting).to(like)

    def others(self, image: Tensor) -> Tensor:
        """The pictures (at most K×3×H×W) that are not this image (3×H×W) itself; `ValueError` where there is none."""
        every = self.images(image)
        found = every[(every != image).flatten(1).any(1)]
        if not len(found):
            raise ValueError("the pool holds no picture but the image itself; give at least one other")
        return found


def pool(wanted: Any) -> Pool:
    """A pool from itself, the images that it holds, or how many pictures of the data set it shall have."""
    if isinstance(wanted, Pool):
        return wanted
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0:
        return Pool(wanted)
    if isinstance(wanted, Tensor | np.ndarray | list | tuple):
        return Pool.of(wanted)
    raise ValueError(f"expected a pool's images (K×3×H×W) or how many pictures it shall have, got {wanted!r}")


def filled(thing: Thing, of_size: Callable[[int], Pool]) -> Thing:
    """A frozen value, as a metric is, whose pools that nobody has given yet, and those of what it is made of, are the
    ones that `of_size(pictures)` makes; the value itself where it has none."""
    if isinstance(thing, Pool):
        return thing if thing.digest else of_size(thing.pictures)  # type: ignore[return-value]
    if not is_dataclass(thing) or isinstance(thing, type):
        return thing
    parts = {each.name: getattr(thing, each.name) for each in fields(thing) if each.init}
    changed = {name: new for name, part in parts.items() if (new := filled(part, of_size)) is not part}
    return replace(thing, **changed) if changed else thing
