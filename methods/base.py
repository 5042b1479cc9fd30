"""What every method shares: a bound classifier, the call, the raw map, the picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, overload

from PIL import Image
from torch import Tensor, nn

from camfaith.models import maps
from camfaith.models.capture import Evidence, find_module
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.layers import target_layer as find_target_layer
from camfaith.models.speed import laid_out


@dataclass(frozen=True)
class Calls:
    """Images sent forward through the network, and images whose score was sent backward."""

    forwards: int = 0
    backwards: int = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(self.forwards + other.forwards, self.backwards + other.backwards)

    def __mul__(self, times: int) -> Calls:
        return Calls(self.forwards * times, self.backwards * times)


class Method:
    """An explanation method bound to a model; a new one overrides `explain`.

    `model` is a Classifier or a plain `nn.Module` (whose images are then taken as that module wants them).
    `target_layer` is a dotted layer name; None takes the classifier's own, or finds the last layer with a spatial
    output. `UnknownName` is raised for a layer that is not there.
    """

    name: ClassVar[str]
    version: ClassVar[int | str] = 1
    needs_layer: ClassVar[bool] = False
    """Whether `explain` reads the activations of the target layer."""
    needs_gradients: ClassVar[bool] = False
    """Whether `explain` reads the gradients at the target layer."""
    rectified: ClassVar[bool] = False
    """Whether the method's definition ends in a ReLU; raw maps are given before it."""
    class_dependent: ClassVar[bool] = True
    """Whether the map depends on the class that is asked about."""
    complete: ClassVar[bool] = False
    """Whether the raw map sums to the class's logit where the network has ReLUs and no biases."""
    control: ClassVar[bool] = False
    """Whether it is a yardstick that does not look at the network."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Conformance checks that the method's definition breaks, each with the reason."""

    def __init__(self, model: nn.Module, target_layer: str | None = None) -> None:
        self.classifier = Classifier.of(model)
        self.layer = target_layer or self.classifier.layer
        if self.layer is not None:
            find_module(self.classifier.network, self.layer)

    @property
    def explained_layer(self) -> str | None:
        """The layer whose activations the raw map's sum accounts for; None for a map of the input."""
        return self.layer if self.needs_layer else None

    @property
    def named_layer(self) -> str:
        """Its target layer; `ValueError` while it has none."""
        if self.layer is None:
            raise ValueError(f"{type(self).__name__} needs a target layer: give target_layer, or call it on an image")
        return self.layer

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        """Raw maps, B×h×w on the method's own grid, signed where the method is signed."""
        raise NotImplementedError(f"{type(self).__name__} must define explain(evidence, classifier)")

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002 - some methods count windows
        """The model calls that `explain` makes for one image like `image` (1×3×H×W), the shared capture not counted."""
        return Calls()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers at which `explain` reads evidence."""
        return (self.layer,) if self.needs_layer and self.layer else ()

    def raw(self, image: Tensor | Image.Image, class_idx: Targets = None) -> Tensor:
        """B×h×w on the native grid, before any display step (so before a final ReLU)."""
        images = self._images(image)
        if self.needs_layer and not self.layers:
            self.layer = find_target_layer(self.classifier, images)
        evidence = self.classifier.evidence(images, class_idx, self.layers, gradients=self.needs_gradients)
        return self.explain(evidence, self.classifier)

    def __call__(self, image: Tensor | Image.Image, class_idx: Targets = None) -> Tensor:
        """B×H×W in [0, 1]: rectified, upsampled to the image and stretched per map.

        `class_idx` is None for the predicted class, one index, or one per image. Warns where a map is constant; raises
        `FloatingPointError` where one is not finite.
        """
        images = self._images(image)
        raw = self.raw(images, class_idx)
        if not bool(raw.isfinite().all()):
            bad = (~raw.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
            raise FloatingPointError(f"{type(self).__name__}: the map of image {bad} holds NaN or infinite values")
        shown = maps.upsample(maps.rectify(raw), (images.shape[-2], images.shape[-1]))
        if bool(maps.is_constant(shown).any()):
            flat = maps.is_constant(shown).nonzero().flatten().tolist()
            warnings.warn(f"{type(self).__name__}: the map of image {flat} is constant and shows nothing", stacklevel=2)
        return maps.normalise(shown)

    @overload
    def visualize(self, picture: Image.Image, heatmap: Tensor, *, signed: bool = ...) -> Image.Image: ...
    @overload
    def visualize(self, picture: Tensor, heatmap: Tensor, *, signed: bool = ...) -> Image.Image | list[Image.Image]: ...
    def visualize(
        self, picture: Image.Image | Tensor, heatmap: Tensor, *, signed: bool = False
    ) -> Image.Image | list[Image.Image]:
        """The heat map in colour over the picture (PIL, or a tensor in [0, 1]); a list for a batch of several.

        `signed` takes a raw map and draws both of its signs (`maps.overlay_signed`): red for the class, blue against.
        """
        overlay: Callable[[Image.Image | Tensor, Tensor], Image.Image]
        overlay = maps.overlay_signed if signed else maps.overlay
        if isinstance(picture, Tensor) and picture.ndim == 4:
            if len(picture) != len(heatmap):
                raise ValueError(f"expected one heat map per picture, got {len(heatmap)} for {len(picture)}")
            drawn = [overlay(p, h) for p, h in zip(picture, heatmap, strict=True)]
            return drawn[0] if len(drawn) == 1 else drawn
        if heatmap.ndim == 3:
            if len(heatmap) != 1:
                raise ValueError(f"expected one heat map for one picture, got {len(heatmap)}")
            heatmap = heatmap[0]
        return overlay(picture, heatmap)

    def _images(self, image: Tensor | Image.Image) -> Tensor:
        images = self.classifier.prepare(image) if isinstance(image, Image.Image) else image
        return laid_out(self.classifier.network, self.classifier.place(images))


def check_variant(variant: str, known: Sequence[str], what: str = "variant") -> None:
    """`ValueError` for a variant of a formula that there is not."""
    if variant not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}; got {variant!r}")


def check_count(setting: str, value: int, least: int = 1) -> None:
    """`ValueError` for a setting that is no whole number, or a smaller one."""
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{setting} must be a whole number, {least} or more; got {value!r}")


def name_and_settings(method: str | Mapping[str, Any], of: str) -> tuple[str, dict[str, Any]]:
    """An inner method's name and settings; `ValueError` for a mapping without a name."""
    settings = {"name": method} if isinstance(method, str) else dict(method)
    if "name" not in settings:
        raise ValueError(f"the method of {of} needs a name beside its settings, got {settings}")
    return settings.pop("name"), settings
