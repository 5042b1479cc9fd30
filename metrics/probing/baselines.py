"""What replaces a removed pixel. Baselines are values: two metrics with equal ones share their calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import torch
from annotated_types import Ge, Le
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from camfaith.metrics.probing.drawing import drawn_for_each, source
from camfaith.metrics.probing.imputation import impute
from camfaith.metrics.probing.pool import pool
from camfaith.models.arrays import tensor_of
from camfaith.models.maps import image_of
from camfaith.models.pictures import load_picture
from camfaith.models.settings import Count, NotNegative, Positive, Seed, from_table, settle_fields

Share = Annotated[float, Ge(0), Le(1)]


class Baseline(Protocol):
    """A frozen value that makes the replacement b for images x: B×3×H×W to the same.

    One whose replacement depends on what is left of the image has `filling(image, seed)` too: for an image (3×H×W) it
    gives a function of what is kept (n×H×W, bool) to the images that come out (n×3×H×W). `b` is then what is there when
    nothing is kept.
    """

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor: ...


Filling = Callable[[Tensor], Tensor]


def filling(baseline: Baseline, image: Tensor, seed: Tensor) -> Filling | None:
    """How a baseline fills in what is removed from an image, where that depends on what is left; else None."""
    own = getattr(baseline, "filling", None)
    return None if own is None else own(image, seed)


@dataclass(frozen=True)
class Black:
    """0 everywhere."""

    name: ClassVar[str] = "black"

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return torch.zeros_like(images)


@dataclass(frozen=True)
class Mean:
    """Each image's own mean colour."""

    name: ClassVar[str] = "mean"

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True).expand_as(images)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur with a `kernel`×`kernel` window, σ in pixels; edges are reflected, so that they do not darken.

    The default is that of Petsiuk et al. (2018), who pad with zeros instead.
    """

    name: ClassVar[str] = "blur"
    kernel: Count = 11
    sigma: Positive = 5.0

    def __post_init__(self) -> None:
        settle_fields(self)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a pixel is in its middle; got {self.kernel}")

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        reach = self.kernel // 2
        if reach >= min(images.shape[-2:]):
            raise ValueError(f"a blur of {self.kernel} px does not fit images of {tuple(images.shape[-2:])} px")
        steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        weights = torch.exp(-steps.square() / (2 * self.sigma**2))
        weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
        padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
        across = F.conv2d(padded, weights, groups=images.shape[1])
        return F.conv2d(across, weights.transpose(2, 3), groups=images.shape[1])


@dataclass(frozen=True)
class Noise:
    """Uniform noise in [0, 1], drawn from the image's seed and from `seed`."""

    name: ClassVar[str] = "noise"
    seed: Seed = 0

    def __post_init__(self) -> None:
        settle_fields(self)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return drawn_for_each(torch.rand, images, seeds, self.seed).to(images)


@dataclass(frozen=True)
class Colour:
    """One colour `rgb`, each in [0, 1], everywhere; for grey images its grey."""

    name: ClassVar[str] = "colour"
    rgb: tuple[Share, Share, Share]

    def __post_init__(self) -> None:
        settle_fields(self)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return _of_colours(images.new_tensor(self.rgb).view(3, 1, 1), images.shape[1]).expand_as(images)


@dataclass(frozen=True)
class DatasetMean:
    """The mean colour of the data set's pictures (Hooker et al. 2019), of those that the `pool` holds."""

    name: ClassVar[str] = "dataset-mean"
    pool: Any = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", pool(self.pool))

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        colour: Tensor = self.pool.images(images).mean((0, 2, 3))
        return colour.view(1, -1, 1, 1).expand_as(images)


@dataclass(frozen=True)
class Another:
    """Another picture of the data set, one of those that the `pool` holds, drawn from the image's seed and `seed`."""

    name: ClassVar[str] = "another"
    pool: Any = 16
    seed: Seed = 0

    def __post_init__(self) -> None:
        settle_fields(self)
        object.__setattr__(self, "pool", pool(self.pool))

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return torch.stack([self._drawn(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)])

    def _drawn(self, image: Tensor, seed: int) -> Tensor:
        others: Tensor = self.pool.others(image)
        return others[int(torch.randint(len(others), (), generator=source(seed, self.seed)))]


@dataclass(frozen=True)
class Linear:
    """Noisy linear imputation (Rong et al. 2022): each removed pixel becomes the weighted mean of its neighbours, plus
    N(0, σ²) for each colour, σ = `noise`, drawn once for each image from its seed and `seed` (see `imputation`). Where
    nothing is left it is the image's mean colour, with the noise. The sum is not clipped to [0, 1]."""

    name: ClassVar[str] = "linear"
    noise: NotNegative = 0.01
    seed: Seed = 0

    def __post_init__(self) -> None:
        settle_fields(self)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        return Mean()(images, seeds) + self._noise(images, seeds)

    def filling(self, image: Tensor, seed: Tensor) -> Filling:
        noise = self._noise(image[None], seed[None])
        exact = image.to(torch.promote_types(image.dtype, torch.float32))  # half precision cannot solve the system

        def filled(kept: Tensor) -> Tensor:
            inner = impute(exact.expand(len(kept), *image.shape), ~kept) + noise
            return torch.where(kept[:, None], image, inner.to(image))

        return filled

    def _noise(self, images: Tensor, seeds: Tensor) -> Tensor:
        return (self.noise * drawn_for_each(torch.randn, images, seeds, self.seed)).to(images)


@dataclass(frozen=True)
class Given:
    """One given image (3×H×W or 1×H×W in [0, 1], of the images' size) for all; two are equal if their pixels are.

    Between grey and colour it is converted as pictures are."""

    name: ClassVar[str] = "image"
    digest: str
    image: Tensor = field(compare=False, repr=False)

    @classmethod
    def of(cls, image: Tensor) -> Given:
        if image.ndim != 3 or not image.is_floating_point():
            raise ValueError(f"expected a 3×H×W floating-point image, got {image.dtype} of shape {tuple(image.shape)}")
        pixels = image.detach().cpu().to(torch.float32, copy=True).contiguous()
        content = str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()
        return cls(hashlib.sha256(content).hexdigest()[:16], pixels)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        image = _of_colours(self.image, images.shape[1])
        if image.shape[1:] != images.shape[2:] or len(image) not in (1, images.shape[1]):
            raise ValueError(
                f"the baseline image is {tuple(self.image.shape)}, the images are {tuple(images.shape[1:])}; "
                "give one of the same size"
            )
        return image.to(images).expand_as(images)


def _of_colours(image: Tensor, colours: int) -> Tensor:
    """An image of three colours in grey, where images are grey; any other as it is."""
    if len(image) == 3 and colours == 1:
        return (image * image.new_tensor(_LUMINANCE).view(3, 1, 1)).sum(0, keepdim=True)
    return image


_LUMINANCE = (0.299, 0.587, 0.114)
"""The share of each colour in grey (ITU-R 601-2), as Pillow takes it."""

_SHIPPED: dict[str, Any] = {
    kind.name: kind for kind in (Black, Mean, Blur, Noise, Linear, DatasetMean, Another, Colour)
}
PANEL = ("black", "mean", "blur", "noise", "linear", "dataset-mean", "another")
"""The baselines that a suite's `baseline = "panel"` stands for."""


def several(wanted: Any) -> Sequence[Any] | None:
    """The baselines, where a setting names several: a list of them, or "panel"; else None."""
    if isinstance(wanted, str):
        return PANEL if wanted == "panel" else None
    listed = isinstance(wanted, list | tuple) and any(isinstance(one, str | Mapping) for one in wanted)
    return wanted if listed else None


def baseline(wanted: Any) -> Baseline:
    """A baseline from its name, a table with its name and settings, an image (a file, picture, tensor or numpy array),
    or itself.

    `"black"`, `"mean"`, `"blur"`, `"noise"`, `"linear"`, `"dataset-mean"`, `"another"`, `{"name": "blur", "sigma":
    10}`, `{"name": "colour", "rgb": [0.5, 0.5, 0.5]}`, `{"image": "grey.png"}`.
    """
    if isinstance(wanted, Tensor | np.ndarray):
        return Given.of(tensor_of(wanted, "baseline"))
    if isinstance(wanted, Image.Image):
        wanted = {"image": wanted}
    if several(wanted):
        raise ValueError(f"a metric has one baseline; a suite makes one of each of several, got {wanted!r}")
    if isinstance(wanted, str):
        wanted = {"name": wanted}
    if not isinstance(wanted, Mapping):
        if callable(wanted):
            return wanted  # type: ignore[no-any-return]
        raise ValueError(f"expected a baseline's name, a table, an image or a Baseline, got {wanted!r}")
    if "image" in wanted:
        if len(wanted) > 1:
            raise ValueError(f"a baseline image takes no other settings, got {sorted(wanted.keys() - {'image'})}")
        return Given.of(image_of(load_picture(wanted["image"])))
    if "name" not in wanted:
        raise ValueError(f"a baseline is a name, or a table with a name or an image; got {sorted(wanted)}")
    return from_table("baseline", wanted, _SHIPPED, "or {image = 'file.png'}")  # type: ignore[no-any-return]
