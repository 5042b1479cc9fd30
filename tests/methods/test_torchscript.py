"""TorchScript networks, which do not show their modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from camfaith import methods
from camfaith.models import Classifier, LayerError
from camfaith.models.errors import NotApplicable

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")

MADE = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.rand(1, 3, 16, 16)),
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
    "with a Python head": lambda network: nn.Sequential(torch.jit.script(network[:4]), *network[4:]),
}


LAYERS = {"scripted": ("0", "0.conv1", "conv1"), "traced": ("conv1",), "frozen": ("0", "conv1")}
LAYERS |= {"with a Python head": ("0", "0.conv1")}


@pytest.fixture(params=MADE)
def kind(request) -> str:
    return request.param


@pytest.fixture
def unseen(kind, tiny) -> nn.Module:
    tiny.relu1.inplace = True
    return MADE[kind](copy.deepcopy(tiny.float()).eval())


@pytest.mark.parametrize("name", ["rise", "occlusion", "saliency"])
def test_methods_that_read_no_layer_explain_it_as_they_do_the_python_module(name, tiny, unseen):
    images = torch.rand(2, 3, 16, 16)
    method = methods.find(name)
    torch.testing.assert_close(method(unseen).raw(images, 1), method(tiny).raw(images, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gradcam", "scorecam", "ablationcam", "fused", "guided-gradcam", "captum-gradcam"])
def test_methods_that_read_a_layer_say_what_to_do(name, kind, unseen):
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(LayerError, match=r"TorchScript shows none.*take a method that reads none"):
        methods.find(name)(unseen).raw(images, 1)
    for layer in LAYERS[kind]:
        with pytest.raises(LayerError, match=rf"layer '{layer}' is TorchScript.*give the Python module"):
            methods.find(name)(unseen, layer).raw(images, 1)


@pytest.mark.parametrize("name", ["rollout", "legrad", "deep-lift", "lrp-epsilon", "guided-backprop", "fullgrad"])
def test_methods_that_must_see_what_is_computed_do_not_apply(name, unseen):
    with pytest.raises(NotApplicable, match="it is TorchScript; give the Python module that it was made from"):
        methods.find(name)(unseen).raw(torch.rand(1, 3, 16, 16), 1)


def test_a_layer_that_a_method_does_not_read_may_lie_in_it(tiny):
    traced = MADE["traced"](tiny.float().eval())
    images = torch.rand(1, 3, 16, 16)
    found = methods.RISE(Classifier(traced, layer="conv1"), n_masks=9).raw(images, 1)
    torch.testing.assert_close(found, methods.RISE(tiny, n_masks=9).raw(images, 1))


def test_a_traced_module_in_a_network_can_be_the_layer(tiny):
    """It is called from Python, and takes hooks."""
    network, images = tiny.float().eval(), torch.rand(1, 3, 16, 16)
    half_traced = nn.Sequential(MADE["traced"](network[:4]), *network[4:])
    found = methods.GradCAM(half_traced, "0").raw(images, 1)
    torch.testing.assert_close(found, methods.GradCAM(network, "relu2").raw(images, 1))
