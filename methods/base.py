"""What every method shares: a bound classifier, the call, the raw map, the picture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, overload

from PIL import Image
from torch import Tensor, nn

from camfaith.models import display, maps
from camfaith.models.arrays import Array, tensor_of
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.contract import Calls as Calls
from camfaith.models.contract import Contract
from camfaith.models.layers import target_layer as find_target_layer
from camfaith.models.naming import layer_name
from camfaith.models.pictures import load_picture
from camfaith.models.settings import checked
from camfaith.models.speed.setup import laid_out

TargetLayer = str | nn.Module | None
"""A layer's dotted name or the module itself; None for the classifier's own layer, or the last spatial one."""


class Method(Contract):
    """An explanation method bound to a model. A new one overrides `explain`, and what differs from `Contract`'s
    defaults.

    `model` is a Classifier or a plain `nn.Module` (whose images are then taken as that module wants them).
    `target_layer` is a dotted layer name, or the module; None takes the classifier's own, or finds the last layer with
    a spatial output. Raises `UnknownName` for a layer that does not exist, `ValueError` for several layers.
    """

    name: ClassVar[str]
    of_pixels: ClassVar[bool | None] = False  # a layer's cells, unless a method says otherwise

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Settings are what the annotations of the constructor allow, in a suite and in a direct call."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", checked(vars(cls)["__init__"]))  # noqa: B010

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None) -> None:
        self.classifier = Classifier.of(model)
        given = self.classifier.layer if target_layer is None else target_layer
        if isinstance(given, list | tuple):
            raise self._several(given)
        self.layer = None if given is None else layer_name(self.classifier.network, given)

    @property
    def explained_layer(self) -> str | None:
        """The layer whose activations the raw map's sum accounts for; None for a map of the input."""
        return self.layer if self.needs_layer else None

    @property
    def named_layer(self) -> str:
        """The target layer; `ValueError` if there is none."""
        if self.layer is None:
            raise ValueError(f"{type(self).__name__} needs a target layer: give target_layer, or call it on an image")
        return self.layer

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        """Raw maps, B×h×w on the method's own grid, signed where the method is signed."""
        raise NotImplementedError(f"{type(self).__name__} must define explain(evidence, classifier)")

    def cost(self, image: Tensor) -> Calls:
        """The model calls that `explain` makes for one image like `image` (1×3×H×W), without the shared capture."""
        return Calls()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers at which `explain` reads evidence."""
        return (self.layer,) if self.needs_layer and self.layer else ()

    def raw(self, image: Array | Image.Image, class_idx: Targets = None) -> Tensor:
        """B×h×w on the native grid, before any display step (so before a final ReLU)."""
        images = self._images(image)
        if self.needs_layer and not self.layers:
            self.layer = find_target_layer(self.classifier, images)
        return self._asked(images, class_idx)

    def _asked(self, images: Tensor, class_idx: Targets) -> Tensor:
        """`explain` of evidence gathered for this call; a method that asks the network itself may skip gathering."""
        gradients = self.needs_gradients and bool(self.layers)
        evidence = self.classifier.evidence(images, class_idx, self.layers, gradients=gradients)
        explained = self.explain(evidence, self.classifier)
        if callable(tell := getattr(self, "diagnostics", None)):
            tell(evidence)  # which warns of weights that are mostly rounding
        return explained

    def __call__(self, image: Array | Image.Image, class_idx: Targets = None) -> Tensor:
        """B×H×W in [0, 1]: rectified, upsampled to the image and stretched per map.

        `class_idx` is None for the predicted class, one index, or one per image. Warns if a map is constant; raises
        `FloatingPointError` if one is not finite.
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
    def visualize(self, picture: Image.Image, heatmap: Array, *, signed: bool = ...) -> Image.Image: ...
    @overload
    def visualize(self, picture: Array, heatmap: Array, *, signed: bool = ...) -> Image.Image | list[Image.Image]: ...
    def visualize(
        self, picture: Image.Image | Array, heatmap: Array, *, signed: bool = False
    ) -> Image.Image | list[Image.Image]:
        """The heat map in colour over the picture (PIL, or an array in [0, 1]); a list if there are several.

        A PIL picture is drawn as the classifier sees it, resized and cropped, unless the map has the picture's size.
        The picture is grey, so that every hue is the map's. `signed` takes a raw map and draws both of its signs
        (`display.overlay_signed`): red for the class, blue against. The strongest colour is the map's greatest value;
        in a map of pixels, their 99.5 % quantile.
        """
        draw = partial(display.overlay_signed if signed else display.overlay, of_pixels=bool(self.of_pixels))
        values = tensor_of(heatmap, "heatmap").detach().cpu().double().numpy()
        if not isinstance(picture, Image.Image):
            picture = tensor_of(picture, "picture")
        if isinstance(picture, Tensor) and picture.ndim == 4:
            if len(picture) != len(values):
                raise ValueError(f"expected one heat map per picture, got {len(values)} for {len(picture)}")
            drawn = [draw(maps.drawable(p), shown) for p, shown in zip(picture, values, strict=True)]
            return drawn[0] if len(drawn) == 1 else drawn
        if values.ndim == 3:
            if len(values) != 1:
                raise ValueError(f"expected one heat map for one picture, got {len(values)}")
            values = values[0]
        if isinstance(picture, Image.Image):
            shown = load_picture(picture)
            if not self.classifier.geometry.changes or values.shape == (shown.height, shown.width):
                return draw(shown, values)
            picture = self.classifier.prepare(shown)
        return draw(maps.drawable(picture), values)

    def _several(self, layers: Sequence[str | nn.Module]) -> ValueError:
        """The error for a list given as the target layer."""
        names = [layer_name(self.classifier.network, layer) for layer in layers]
        advice = "give it without the list" if len(names) == 1 else "give one"
        if len(names) > 1 and self.needs_layer:
            method = "" if self.name == "fused" else f"method={self.name!r}, "
            advice = f"for one map of several, fused: camfaith.methods.Fused(model, {method}layers={names})"
        return ValueError(f"{type(self).__name__} takes one target layer, got a {type(layers).__name__}: {advice}")

    def _images(self, image: Array | Image.Image) -> Tensor:
        given = self.classifier.prepare(image) if isinstance(image, Image.Image) else image
        images = self.classifier.given(given)
        return images.contiguous() if self._as_elsewhere else laid_out(self.classifier.network, images)

    @property
    def _as_elsewhere(self) -> bool:
        """Whether the method copies a library, and then needs activations that equal the library's to the last bit."""
        return getattr(self, "variant", "paper") not in ("paper", "guarded")


def name_and_settings(method: str | Mapping[str, Any], of: str) -> tuple[str, dict[str, Any]]:
    """An inner method's name and settings; `ValueError` for a mapping without a name."""
    settings = {"name": method} if isinstance(method, str) else dict(method)
    if "name" not in settings:
        raise ValueError(f"the method of {of} needs a name beside its settings, got {settings}")
    return settings.pop("name"), settings
