"""A method's class bound to a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from camfaith.models.classifier import Classifier
from camfaith.models.contract import Bound, said
from camfaith.models.layers import Layer, last_spatial_layer


def bind(
    kind: Any,
    classifier: Classifier,
    layer: str | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    survey: Sequence[Layer] | None = None,
) -> Bound:
    """A method of class `kind` at `layer`, else at the classifier's own layer. A method that needs a layer takes, where
    neither is given, the last spatial one of the network's `survey`; without a survey it may have none.

    Raises `LayerError` if no layer is found, `TypeError` for a class without `explain`.
    """

    def found(method: Any, layer: str | None) -> str | None:
        missing = layer is None and said(method, "needs_layer")
        return last_spatial_layer(survey) if missing and survey is not None else layer

    layer = found(kind, layer or classifier.layer)
    explainer = kind(classifier, layer, **settings)
    layer = found(explainer, layer)  # needs may depend on the settings
    if layer and getattr(explainer, "layer", None) is None:
        explainer.layer = layer
    return Bound.of(explainer, classifier)
