"""The contract of a method: what it may say of itself, what holds where it says nothing, and the method bound to a
classifier, as runs, metrics called alone and the conformance kit ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.speed.counting import Calls as Calls


class Contract:
    """What a method may say of itself, on its class or on the object; where it says nothing, the value here holds."""

    version: ClassVar[int | str] = 1
    needs_layer: ClassVar[bool] = True
    """Whether `explain` reads the activations of the target layer."""
    needs_gradients: ClassVar[bool] = True
    """Whether `explain` reads the gradients at the target layer."""
    rectified: ClassVar[bool] = False
    """Whether the method's definition ends in a ReLU; raw maps are given before it."""
    unsigned: ClassVar[bool] = False
    """Whether a raw map's sign says nothing: it holds how much the class depends on a place, for or against, or has no
    zero of its own."""
    displayed: ClassVar[bool] = False
    """Whether maps come ready to be shown: no ReLU, no sign and no scale is left in them."""
    class_dependent: ClassVar[bool] = True
    """Whether the map depends on the class that is asked about."""
    of_pixels: ClassVar[bool | None] = None
    """Whether a raw map holds a value for each pixel of the image, not for a layer's cells: the colours of its pictures
    end at a high quantile (`display.QUANTILE`), since one pixel would set the scale of all. None: where it is as large
    as the image."""
    complete: ClassVar[bool] = False
    """Whether the raw map sums to the class's logit where the network has ReLUs and no biases."""
    control: ClassVar[bool] = False
    """Whether it is a yardstick that does not look at the network."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Conformance checks that the method's definition breaks, each with the reason."""


def said(method: Any, name: str) -> Any:
    """What a method, or its class, says of itself by that name of `Contract`."""
    return getattr(method, name, getattr(Contract, name))


class MalformedMaps(ValueError):
    """What a method gave is no batch of maps."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A method on a classifier, and what it says of itself (`Contract`)."""

    explainer: Any
    classifier: Classifier
    layer: str | None
    """The layer that its maps account for; None for maps of the input."""
    needed_layers: tuple[str, ...]
    """The layers at which it needs evidence."""
    version: int | str
    needs_layer: bool
    needs_gradients: bool
    rectified: bool
    unsigned: bool
    displayed: bool
    class_dependent: bool
    of_pixels: bool | None
    complete: bool
    control: bool
    exempt: Mapping[str, str]

    @classmethod
    def of(cls, explainer: Any, classifier: Classifier, layer: str | None = None) -> Self:
        """A method that is made already; `layer` is for one that has none of its own. `TypeError` where it cannot
        explain."""
        if not callable(getattr(explainer, "explain", None)):
            raise TypeError(
                f"{type(explainer).__name__} has no explain(evidence, classifier); see CONTRIBUTING.md for one"
            )
        says = {name: said(explainer, name) for name in Contract.__annotations__}
        own = getattr(explainer, "layer", None) or layer
        named = (getattr(explainer, "layers", None) or (own,)) if says["needs_layer"] else ()
        return cls(
            explainer=explainer,
            classifier=classifier,
            layer=getattr(explainer, "explained_layer", own if says["needs_layer"] else None),
            needed_layers=tuple(name for name in named if name),
            **says,
        )

    @property
    def goes_back(self) -> bool:
        """Whether it wants the score's gradient at a layer."""
        return self.needs_gradients and bool(self.needed_layers)

    def explain(self, evidence: Evidence) -> Tensor:
        """Raw maps (B×h×w) on the images' device; `MalformedMaps` where the method gives none."""
        return self.maps_as_given(evidence).to(evidence.images.device)

    def maps_as_given(self, evidence: Evidence) -> Tensor:
        """The same where the method left them."""
        raw = self.explainer.explain(evidence, self.classifier)
        if not isinstance(raw, Tensor):
            raise MalformedMaps(f"explain gives a {type(raw).__name__}, not a tensor")
        if raw.ndim != 3 or len(raw) != len(evidence) or 0 in raw.shape:
            got = "×".join(map(str, raw.shape))
            raise MalformedMaps(
                f"explain gives shape {got} for a batch of {len(evidence)}, expected {len(evidence)}×h×w"
            )
        if not raw.is_floating_point():
            raise MalformedMaps(f"explain gives {raw.dtype}, expected floating-point numbers")
        return raw.detach()

    def cost(self, image: Tensor) -> Calls:
        """The model calls that `explain` makes for one image like `image` (1×3×H×W), the shared capture not counted;
        none for a method that does not say."""
        return self._told("cost", image) or Calls()

    def contributions(self, evidence: Evidence) -> Tensor | None:
        """What each of the layer's channels adds to the maps' sums (B×K), where the method says."""
        found: Tensor | None = self._told("contributions", evidence)
        return found

    def diagnostics(self, evidence: Evidence) -> dict[str, Tensor]:
        """Values that the method gives beside its maps, one an image, by name."""
        return self._told("diagnostics", evidence) or {}

    def _told(self, name: str, of: Evidence | Tensor) -> Any:
        tell = getattr(self.explainer, name, None)
        return tell(of) if callable(tell) else None
