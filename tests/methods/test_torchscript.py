"""Networks of TorchScript, which run without showing what is in them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from camfaith import methods
from camfaith.models import LayerError
from camfaith.models.errors import NotApplicable

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")

MADE = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.rand(1, 3, 16, 16)),
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
    "with a Python head": lambda network: nn.Sequential(torch.jit.script(network[:4]), *network[4:]),
}


@pytest.fixture(params=MADE)
def unseen(request, tiny) -> nn.Module:
    return MADE[request.param](copy.deepcopy(tiny.float()).eval())


@pytest.mark.parametrize("name", ["rise", "occlusion", "saliency", "integrated-gradients", "lime"])
def test_methods_that_read_no_layer_explain_it_as_they_do_the_python_module(name, tiny, unseen):
    images = torch.rand(2, 3, 16, 16)
    method = methods.find(name)
    torch.testing.assert_close(method(unseen).raw(images, 1), method(tiny).raw(images, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gradcam", "scorecam", "ablationcam", "fused", "guided-gradcam", "captum-gradcam"])
def test_methods_that_read_a_layer_say_what_to_do(name, unseen):
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(LayerError, match=r"TorchScript shows none.*take a method that reads none"):
        methods.find(name)(unseen).raw(images, 1)
    for layer in ("0", "0.conv1"):
        with pytest.raises(LayerError, match=rf"layer '{layer}' is TorchScript.*give the Python module"):
            methods.find(name)(unseen, layer)


@pytest.mark.parametrize("name", ["rollout", "legrad", "deep-lift", "lrp", "guided-backprop"])
def test_methods_that_must_see_what_is_computed_do_not_apply(name, unseen):
    with pytest.raises(NotApplicable):
        methods.find(name)(unseen).raw(torch.rand(1, 3, 16, 16), 1)
