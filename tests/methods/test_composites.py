"""zennit's composites equal zennit's own results, and lrp-epsilon if they are epsilon alone; they leave nothing
behind."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from camfaith.methods import LRP, Calls, find
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.counting import counting

zennit = pytest.importorskip("zennit.composites", reason="zennit is not installed; pip install 'camfaith[peers]'")

CONSERVING = ["EpsilonPlus", "EpsilonPlusFlat", "EpsilonGammaBox"]
COMPOSITES = [*CONSERVING, "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat"]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def drawn(network: nn.Module) -> nn.Module:
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=source) * 0.3 + (1.0 if "var" in name else 0.0)).abs_()
                value.mul_(1.0 if "var" in name else torch.randn(value.shape, generator=source).sign())
    return network.double().eval()


def behind(*layers: nn.Module) -> nn.Module:
    """Layers between a convolution and a head."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return drawn(nn.Sequential(nn.Conv2d(3, 4, 3), *layers, *head))


def residual(**options) -> nn.Module:
    return drawn(ResNet(BasicBlock, [1, 1, 0, 0], num_classes=3, **options))


@pytest.fixture
def normed():
    return behind(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU())


@pytest.mark.parametrize("name", COMPOSITES)
def test_relevance_is_what_zennit_gives_its_user(normed, images, name):
    from zennit.attribution import Gradient
    from zennit.torchvision import VGGCanonizer

    pictures, targets = images(2, 15), [2, 0]
    mean, std = (torch.tensor(value, dtype=torch.float64).view(1, 3, 1, 1) for value in (MEAN, STD))
    box = {"low": -mean / std, "high": (1 - mean) / std} if name == "EpsilonGammaBox" else {}
    composite = getattr(zennit, name)(epsilon=0.1, canonizers=[VGGCanonizer()], **box)
    with Gradient(normed, composite) as attributor:
        _, expected = attributor((pictures - mean) / std, lambda logits: logits * torch.eye(3)[targets])
    found = find(f"zennit:{name}")(Classifier(normed, mean=MEAN, std=STD), epsilon=0.1).raw(pictures, targets)
    torch.testing.assert_close(found, expected.sum(1))


def test_with_epsilon_everywhere_it_is_lrp_epsilon(images):
    from zennit.rules import Epsilon
    from zennit.types import Convolution

    network, pictures = residual(norm_layer=nn.Identity), images(1, 24)
    options = {"epsilon": 1e-9, "stabilizer": 1e-9, "layer_map": [(Convolution, Epsilon(1e-9))]}
    found = find("zennit:EpsilonPlus")(network, **options).raw(pictures, 1)
    torch.testing.assert_close(found, LRP(network, epsilon=1e-9).raw(pictures, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CONSERVING)
def test_without_biases_relevance_keeps_the_score(images, name):
    network, pictures = residual(norm_layer=nn.Identity), images(2, 24)
    network.fc.bias = None
    found = find(f"zennit:{name}")(network, stabilizer=1e-12, epsilon=1e-12).raw(pictures, 1)
    torch.testing.assert_close(found.sum((1, 2)), Classifier(network).scores(pictures)[:, 1], rtol=1e-6, atol=0)


def test_the_declared_cost_is_what_is_called(normed, images):
    classifier = Classifier(normed)
    evidence = classifier.evidence(images(2, 15), 1)
    method = find("zennit:EpsilonPlusFlat")(classifier)
    with counting(normed) as tally:
        method.explain(evidence, classifier)
    assert Calls(tally.forwards, tally.backwards) == method.cost(evidence.images[:1]) * 2


class Does(nn.Module):
    """A function, and a leaf that it calls."""

    def __init__(self, function, leaf: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.leaf = function, leaf

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(x) if self.leaf is None else self.function(self.leaf, x)
        return out


def test_what_hands_relevance_on_by_its_gradient_may_be_a_function(images):
    network = behind(Does(lambda x: F.max_pool2d(x, 2)), nn.ReLU(), Does(lambda x: F.pad(x, (1, 0))))
    found = find("zennit:EpsilonPlus")(network).raw(images(2, 15), 1)
    network[1], network[3] = nn.MaxPool2d(2), nn.ZeroPad2d((1, 0, 0, 0))
    torch.testing.assert_close(found, find("zennit:EpsilonPlus")(network).raw(images(2, 15), 1))
    assert found.std() > 0


class Dense(nn.Module):
    """A batch norm of what a convolution puts out and what it is given: it does not fit what is defined before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.narrow, self.after, self.last = nn.Conv2d(4, 2, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        out: Tensor = self.last(self.after(torch.cat([x, self.narrow(x)], 1)))
        return out


class Swapped(nn.Module):
    """A batch norm that is defined behind the convolution that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.norm(x))
        return out


TWICE = nn.Conv2d(4, 4, 1)
PAIR = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
REFUSED = {
    "a sum": ([Does(lambda x: x + x)], r"has no rule for Add in module '1' \(Does\); .*name canonizers"),
    "a mean": ([Does(lambda x: x.mean((2, 3), keepdim=True))], r"no rule for Mean in module '1'"),
    "a ReLU": ([Does(F.relu)], r"no rule for Relu in module '1'"),
    "a norm": ([nn.GroupNorm(2, 4)], r"no rule for NativeGroupNorm in module '1' \(GroupNorm\)"),
    "a layer that runs twice": ([TWICE, nn.ReLU(), TWICE], r"module '1' \(Conv2d\) is called 2 times in a forward"),
    "a keyword": ([Does(lambda leaf, x: leaf(input=x), nn.Conv2d(4, 4, 1))], r"module '1\.leaf' .* by position"),
    "computed weights": ([nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))], r"'1' .* compute its weights"),
    "a merge that cannot be": ([Dense()], r"canonizers do not fit Sequential \(The size of tensor a \(2\)"),
    "a merge that is wrong": ([Swapped()], r"canonizers do not fit Sequential \(the logits are others\)"),
    "a merge that is done twice": ([nn.Sequential(*PAIR), nn.ReLU(), nn.Sequential(*PAIR)], r"is called 2 times"),
}


def held(network: nn.Module) -> list[object]:
    """What a network holds and may not lose, its tensors themselves too."""
    tables = ("_modules", "_forward_hooks", "_forward_pre_hooks", "_parameters", "_buffers")
    tensors = [*network.parameters(), *network.buffers()]
    own = [(set(vars(module)), *(dict(vars(module)[table]) for table in tables)) for module in network.modules()]
    flags = [(value.requires_grad, value.grad, id(value), value.tolist()) for value in tensors]
    return [str(own), flags, [module.training for module in network.modules()]]


@pytest.mark.parametrize("why", REFUSED)
def test_what_zennit_would_pass_by_is_named_and_the_network_is_as_it_was(images, why):
    between, what = REFUSED[why]
    network = behind(*between).train()
    before = held(network)
    with pytest.raises(NotApplicable, match=what):
        find("zennit:EpsilonPlus")(network).raw(images(1, 15), 1)
    assert held(network) == before


def test_a_network_whose_blocks_were_canonized_is_as_it_was(images):
    network = residual().train()
    block = network.get_submodule("layer1.0")
    block.forward = mine = block.forward  # an attribute of its own, which the canonizer takes away
    before = held(network)
    assert find("zennit:EpsilonPlus")(network).raw(images(1, 24), 1).isfinite().all()
    assert held(network) == before
    assert vars(block)["forward"] is mine


def test_canonizers_may_be_left_out(images):
    network = behind(Dense())
    assert find("zennit:EpsilonPlus")(network, canonizers=[]).raw(images(1, 15), 1).std() > 0


def test_a_setting_that_the_composite_does_not_take_is_told_at_once(normed):
    with pytest.raises(TypeError, match=r"zennit:EpsilonPlus: .*'gamma'; its settings are epsilon, stabilizer"):
        find("zennit:EpsilonPlus")(normed, gamma=0.1)
