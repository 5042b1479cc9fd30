"""Which layers a network has, in what order they ran, and which is the target."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from camfaith.models import Classifier, LayerError, survey, target_layer
from camfaith.models.layers import Layer, last_spatial_layer


def network() -> nn.Module:
    inner = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    layers = OrderedDict(inner=inner, avg=nn.AvgPool2d(2), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    return nn.Sequential(layers, ).append(nn.Linear(4, 2)).eval()  # fmt: skip


def test_layers_are_listed_as_they_finished():
    found = survey(Classifier(network()), torch.rand(2, 3, 8, 8))
    assert [(layer.name, layer.shape) for layer in found] == [
        ("inner.conv", (4, 6, 6)),
        ("inner.norm", (4, 6, 6)),
        ("inner", (4, 6, 6)),
        ("avg", (4, 3, 3)),
        ("pool", (4, 1, 1)),
        ("flat", (4,)),
        ("4", (2,)),
    ]
    assert [layer.name for layer in found if layer.passive] == ["avg", "pool"]


def test_a_survey_leaves_no_hook_and_no_mode_behind():
    model = network().train()
    before = model.inner.norm.running_mean.clone()
    survey(Classifier(model), torch.rand(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        survey(Classifier(model), torch.rand(2, 1, 8, 8))
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.equal(model.inner.norm.running_mean, before)


def test_the_last_layer_that_is_more_than_pooling_is_the_target():
    assert target_layer(Classifier(network()), torch.rand(1, 3, 8, 8)) == "inner"
    assert target_layer(Classifier(network(), layer="inner.conv"), torch.rand(1, 3, 8, 8)) == "inner.conv"


def test_a_network_without_a_spatial_layer_has_no_target():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(LayerError, match="no layer with a spatial output"):
        target_layer(Classifier(flat), torch.rand(1, 3, 4, 4))


def test_tokens_after_the_last_spatial_layer_are_no_target():
    layers = [Layer("patches", "Conv2d", (16, 14, 14), False), Layer("block", "Block", (197, 16), False)]
    with pytest.raises(LayerError, match=r"'block' gives tokens \(B×197×16\)"):
        last_spatial_layer(layers)
    assert last_spatial_layer(layers[::-1]) == "patches"
