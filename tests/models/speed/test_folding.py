"""A folded network computes what it was folded from, in fewer steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from camfaith.models.speed.folding import folded, with_relus_folded

IMAGES = torch.rand(3, 4, 9, 9, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def same_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        yield


class Written(nn.Module):
    """A convolution followed by a ReLU, written in one of the ways there are."""

    def __init__(self, relu) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), relu

    def forward(self, images):
        return self.relu(self.conv(images)) * 2


class Branching(nn.Module):
    """One convolution whose output two steps take, and one that is called twice: before a ReLU, and before none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU()

    def forward(self, images):
        seen = self.first(images)
        return self.second(self.relu(seen) - seen) + self.relu(self.second(images))


def steps(network):
    """What a traced network calls, in order."""
    modules = dict(network.named_modules())
    calls = [node for node in network.graph.nodes if node.op.startswith("call")]
    return [type(modules[n.target]).__name__ if n.op == "call_module" else str(n.target) for n in calls]


def agree(network, images=IMAGES):
    found = folded(network.eval())
    with torch.inference_mode():
        torch.testing.assert_close(found(images), network(images), rtol=1e-5, atol=1e-6)
    return steps(found)


@pytest.mark.parametrize(
    "relu",
    [nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.relu(), lambda x: x.relu_()],
    ids=["nn.ReLU", "in place", "F.relu", "torch.relu", "relu", "relu_"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_relu_becomes_part_of_the_convolution(relu, layout):
    found = agree(Written(relu), IMAGES.contiguous(memory_format=layout))
    assert found[0] == "_ConvolutionReLU"
    assert len(found) == 2


def test_a_batch_norm_between_them_goes_in_as_well():
    norm = nn.BatchNorm2d(6)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    network = nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU())
    assert agree(network) == ["_ConvolutionReLU"]


def test_what_others_need_without_the_relu_stays_without_it():
    found = agree(Branching())
    assert found.count("_ConvolutionReLU") == 1
    assert found.count("Conv2d") == 2
    assert found.count("ReLU") == 1


@pytest.mark.parametrize(
    ("network", "images"),
    [
        (nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU()).double(), IMAGES.double()),
        (nn.Sequential(nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), nn.ReLU()), IMAGES),
        (nn.Sequential(nn.Conv2d(4, 2, 3, padding="same"), nn.ReLU()), IMAGES),
    ],
    ids=["double precision", "circular padding", "padding by name"],
)
def test_what_the_operator_does_not_take_is_left_alone(network, images):
    assert agree(network, images) == ["Conv2d", "ReLU"]


def test_under_autocast_the_two_steps_run_as_they_would():
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(with_relus_folded(network)(IMAGES), network(IMAGES))


def test_only_batch_norms_need_weights_of_their_own():
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()).eval()
    found = with_relus_folded(network)
    assert {p.data_ptr() for p in found.parameters()} == {p.data_ptr() for p in network.parameters()}


def test_the_network_itself_stays_as_it_was():
    network = nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU()).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded(network)
    assert [type(module) for module in network] == [nn.Conv2d, nn.ReLU]
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
