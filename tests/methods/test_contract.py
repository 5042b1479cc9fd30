"""A method's class is bound to a classifier, at a layer if it needs one."""

from __future__ import annotations

import pytest

from camfaith.methods import Fused, GradCAM, NoiseTunnel
from camfaith.methods.contract import bind
from camfaith.models import Classifier, LayerError, survey


class Alone:
    def __init__(self, model, target_layer=None):
        pass

    def explain(self, evidence, classifier):
        return evidence.activations[self.layer].sum(1)


class Without(Alone):
    needs_layer = False


@pytest.mark.parametrize(
    ("kind", "settings", "needed"),
    [
        (Alone, {}, ("relu2",)),
        (GradCAM, {}, ("relu2",)),
        (Fused, {"layers": ["relu1", "conv2"]}, ("relu1", "conv2")),
        (NoiseTunnel, {"method": "captum-gradcam"}, ("relu2",)),  # which needs one by its settings
        (Without, {}, ()),
        (NoiseTunnel, {}, ()),
    ],
)
def test_a_layer_is_found_for_a_method_that_needs_one_and_for_no_other(kind, settings, needed, tiny, images):
    layers = survey(Classifier(tiny), images(1, 9))
    bound = bind(kind, Classifier(tiny), None, settings, layers)
    assert bound.needed_layers == needed
    assert getattr(bound.explainer, "layer", None) == ("relu2" if needed else None)
    assert bind(kind, Classifier(tiny, layer="relu1"), None, settings, layers).explainer.layer == "relu1"
    assert bind(kind, Classifier(tiny, layer="relu1"), "conv1", settings).explainer.layer == "conv1"
    if needed:
        with pytest.raises(LayerError, match="found no layer"):
            bind(kind, Classifier(tiny), None, settings, [])
