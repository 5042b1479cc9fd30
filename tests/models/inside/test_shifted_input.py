"""A network whose first bias takes a brighter image back, on the same logits, gradients and activations."""

from contextlib import suppress

import pytest
import torch
from torch import nn

from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.shifted_input import compensating

FIRST = {
    "zero padding, a bias": {"padding": 1},
    "no bias, a stride": {"padding": (0, 2), "stride": 2, "bias": False},
    "same, dilated": {"padding": "same", "dilation": 2},
    "groups": {"groups": 3, "padding": 1},
    "reflected": {"padding": 1, "padding_mode": "reflect"},
}


@pytest.mark.parametrize("told", FIRST.values(), ids=FIRST)
@pytest.mark.parametrize("mean", [None, (0.2, 0.5, 0.7)])
def test_what_comes_behind_the_first_convolution_is_the_same(told, mean):
    before = nn.ZeroPad2d((0, 1, 2, 1))
    network = nn.Sequential(nn.Conv2d(3, 6, 3, **told), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1), nn.Flatten())
    network = network.insert(0, before).double().requires_grad_(False)
    classifier = Classifier(network, mean=mean, std=mean and (0.1, 0.2, 0.4))
    images = torch.rand(2, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    first, bias, padding = network[1], network[1].bias, network[1].padding
    expected = classifier(images)
    with suppress(ArithmeticError), compensating(classifier, -1.5):
        torch.testing.assert_close(classifier(images - 1.5), expected)
        assert not torch.allclose(classifier(images), expected)
        raise ArithmeticError
    assert (first.bias is bias, first.padding, len(first._forward_pre_hooks)) == (True, padding, 0)
    assert torch.equal(classifier(images), expected)


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Conv2d(1, 2, 3)])
def test_a_network_without_a_convolution_of_the_colours_is_told(network):
    with (
        pytest.raises(NotApplicable, match=r"no first convolution of the image's colours"),
        compensating(Classifier(network, mean=(0, 0, 0), std=(1, 1, 1)), 1.0),
    ):
        pass
