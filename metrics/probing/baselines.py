"""What replaces a removed pixel. Baselines are values: two metrics with equal ones share their calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from camfaith.models.arrays import tensor_of
from camfaith.models.lookup import UnknownName
from camfaith.models.maps import image_of
from camfaith.models.pictures import load_picture
from camfaith.models.settings import Count, Positive, Seed, settle_fields, settled


class Baseline(Protocol):
    """A frozen value that makes the replacement b for images x: B×3×H×W to the same."""

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor: ...


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


def drawn_for_each(draw: Callable[..., Tensor], images: Tensor, seeds: Tensor, seed: int) -> Tensor:
    """Numbers in the images' shape, by `torch.rand` or the like, from the seed of each and from a `seed` for all."""
    sources = [torch.Generator().manual_seed((each * 1_000_003 + seed) % 2**63) for each in seeds.tolist()]
    return torch.stack([draw(images.shape[1:], generator=source, dtype=torch.float64) for source in sources])


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
        image = self.image
        if len(image) == 3 and images.shape[1] == 1:
            image = (image * image.new_tensor(_LUMINANCE).view(3, 1, 1)).sum(0, keepdim=True)
        if image.shape[1:] != images.shape[2:] or len(image) not in (1, images.shape[1]):
            raise ValueError(
                f"the baseline image is {tuple(self.image.shape)}, the images are {tuple(images.shape[1:])}; "
                "give one of the same size"
            )
        return image.to(images).expand_as(images)


_LUMINANCE = (0.299, 0.587, 0.114)
"""The share of each colour in grey (ITU-R 601-2), as Pillow takes it."""

_SHIPPED: dict[str, Any] = {kind.name: kind for kind in (Black, Mean, Blur, Noise)}


def baseline(wanted: Any) -> Baseline:
    """A baseline from its name, a table with its name and settings, an image (a file, picture, tensor or numpy array),
    or itself.

    `"black"`, `"mean"`, `"blur"`, `"noise"`, `{"name": "blur", "sigma": 10}`, `{"image": "grey.png"}`.
    """
    if isinstance(wanted, Tensor | np.ndarray):
        return Given.of(tensor_of(wanted, "baseline"))
    if isinstance(wanted, Image.Image):
        wanted = {"image": wanted}
    if isinstance(wanted, str):
        wanted = {"name": wanted}
    if not isinstance(wanted, Mapping):
        if callable(wanted):
            return wanted  # type: ignore[no-any-return]
        raise ValueError(f"expected a baseline's name, a table, an image or a Baseline, got {wanted!r}")
    settings = dict(wanted)
    if "image" in settings:
        if len(settings) > 1:
            raise ValueError(f"a baseline image takes no other settings, got {sorted(settings.keys() - {'image'})}")
        return Given.of(image_of(load_picture(settings["image"])))
    if "name" not in settings:
        raise ValueError(f"a baseline is a name, or a table with a name or an image; got {sorted(settings)}")
    name = settings.pop("name")
    if not isinstance(name, str) or name not in _SHIPPED:
        raise UnknownName("baseline", str(name), _SHIPPED, "or {image = 'file.png'}")
    try:
        return _SHIPPED[name](**settled(_SHIPPED[name], settings))  # type: ignore[no-any-return]
    except ValueError as error:
        raise ValueError(f"baseline {name!r}: {error}") from None
