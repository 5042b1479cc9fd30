"""The walk over a network's modules is PyTorch's, in another order."""

import torchvision
from torch import nn

from camfaith.models.walk import every_module


def test_every_module_comes_once_whatever_is_shared_or_left_out():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), shared), shared, torchvision.models.googlenet(
        weights=None, init_weights=False, aux_logits=False
    ))  # fmt: skip
    network.register_module("nothing", None)
    found = every_module(network)
    assert len(found) == len(set(found))
    assert set(found) == set(network.modules())
