"""LRP: equal to values by hand and to captum's, conserved without biases, and refused where it has no rule."""

import captum.attr
import pytest
import torch
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods import LRP, InputXGradient, find
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable


def drawn(network: nn.Module) -> nn.Module:
    """Weights from a seed, in double precision."""
    for number, parameter in enumerate(network.parameters()):
        nn.init.normal_(parameter, 0.0, 0.5, generator=torch.Generator().manual_seed(number))
    return network.double().eval()


def relevance_by_hand(network: nn.Module, x: Tensor, target: int, epsilon: float) -> Tensor:
    """R of the tiny network, layer by layer from the logit: a ⊙ Wᵀ(R/(z + ε·sign z))."""

    def held(z: Tensor) -> Tensor:
        return z + epsilon * torch.where(z < 0, -1.0, 1.0)

    one = F.conv2d(x, network.conv1.weight, network.conv1.bias, padding=1)
    two = F.conv2d(one.clamp(min=0), network.conv2.weight, network.conv2.bias, stride=2)
    pooled = two.clamp(min=0).mean((2, 3))
    logit = network.head(pooled)[:, target, None]
    r = pooled * network.head.weight[target] * logit / held(logit)
    r = two.clamp(min=0) / (two.shape[2] * two.shape[3]) * (r / held(pooled))[:, :, None, None]
    back = torch.nn.grad.conv2d_input
    r = one.clamp(min=0) * back(one.shape, network.conv2.weight, r / held(two), stride=2)
    return (x * back(x.shape, network.conv1.weight, r / held(one), padding=1)).detach()


@pytest.mark.parametrize("epsilon", [1e-9, 0.1])
def test_lrp_is_the_epsilon_rule_by_hand(tiny, images, epsilon):
    pictures = images(2, 15)
    expected = relevance_by_hand(tiny, pictures, 1, epsilon).sum(1)
    torch.testing.assert_close(LRP(tiny, epsilon=epsilon).raw(pictures, 1), expected, rtol=1e-7, atol=1e-9)


def test_a_rule_of_the_networks_own_is_kept(tiny, images):
    pictures = images(2, 15)
    own = {name: EpsilonRule(0.1) for name in ("conv1", "conv2", "pool", "head")}
    for name, rule in own.items():
        getattr(tiny, name).rule = rule
    expected = relevance_by_hand(tiny, pictures, 1, 0.1).sum(1)
    torch.testing.assert_close(LRP(tiny).raw(pictures, 1), expected, rtol=1e-7, atol=1e-9)
    assert all(getattr(tiny, name).rule is rule for name, rule in own.items())


def test_lrp_of_a_linear_model_is_weight_times_what_the_network_is_given(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    model.bias.data.zero_()
    classifier = Classifier(model, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (classifier.mean, classifier.std))
    expected = (model.weight[1] * (pictures - mean) / std).sum(1).detach()
    torch.testing.assert_close(LRP(classifier).raw(pictures, 1), expected, rtol=1e-7, atol=1e-9)


class Block(nn.Module):
    """relu(f(x) + x), the sum written in one of several ways; one ReLU for both calls, as torchvision has it."""

    def __init__(self, add: str) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)
        self.add = add
        self.sum = Addition_Module() if add == "module" else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.conv1(x)))
        if self.add == "in place":
            out += x
        elif self.add == "function":
            out = torch.add(out, x)
        elif self.add == "method":
            out.add_(x)
        elif self.add == "keywords":
            out = torch.add(input=out, other=x)
        elif self.sum is not None:
            out = self.sum(out, x)
        else:
            out = out + x
        return self.relu(out)


def residual(*adds: str) -> nn.Module:
    blocks = [nn.Sequential(Block(add), nn.Identity()) for add in adds]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3, bias=False)]
    return drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), *blocks, *head))


@pytest.mark.parametrize("add", ["operator", "in place", "method", "function", "keywords", "module"])
def test_without_biases_lrp_is_input_times_gradient_and_keeps_the_score(images, add):
    network, pictures = residual(add, "operator"), images(2, 12)
    found = LRP(network, epsilon=1e-12).raw(pictures, 1)
    torch.testing.assert_close(found, InputXGradient(network).raw(pictures, 1), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.sum((1, 2)), Classifier(network).scores(pictures)[:, 1], rtol=1e-6, atol=0)


class Chain(nn.Module):
    """Nothing but what captum's LRP takes as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
        )
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def test_captums_own_call_gives_the_same_relevance(images):
    network, pictures = drawn(Chain()), images(2, 14)
    classifier = Classifier(network, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (classifier.mean, classifier.std))
    theirs = captum.attr.LRP(network).attribute((pictures - mean) / std, target=1).detach()
    torch.testing.assert_close(LRP(classifier).raw(pictures, 1), theirs.sum(1), rtol=1e-7, atol=1e-9)


class Computing(nn.Module):
    """A head behind something between a convolution and itself."""

    def __init__(self, *between) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.between, self.modules_between = between, nn.ModuleList(m for m in between if isinstance(m, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for each in self.between:
            x = each(x)
        out: Tensor = self.head(x)
        return out


def relevance(network: nn.Module, pictures: Tensor) -> Tensor:
    return LRP(drawn(network), epsilon=0.1).raw(pictures, 1)


GLOBAL, FLAT, TWO, LARGEST = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.AvgPool2d(2), nn.MaxPool2d(2)


@pytest.mark.parametrize(
    ("functions", "modules"),
    [
        ([lambda x: x.mean((2, 3))], [GLOBAL, FLAT]),
        ([lambda x: torch.mean(x, dim=[-2, -1])], [GLOBAL, FLAT]),
        ([lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: torch.flatten(x, 1)], [GLOBAL, FLAT]),
        ([lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: x.flatten(1)], [GLOBAL, FLAT]),
        ([lambda x: F.adaptive_avg_pool2d(x, (1, 1)), lambda x: x.view(len(x), -1)], [GLOBAL, FLAT]),
        ([F.relu, GLOBAL, FLAT], [nn.ReLU(), GLOBAL, FLAT]),
        ([lambda x: F.relu(x, inplace=True), GLOBAL, FLAT], [nn.ReLU(), GLOBAL, FLAT]),
        ([lambda x: F.relu(input=x), GLOBAL, FLAT], [nn.ReLU(), GLOBAL, FLAT]),
        ([torch.relu, GLOBAL, FLAT], [nn.ReLU(), GLOBAL, FLAT]),
        ([Tensor.relu_, GLOBAL, FLAT], [nn.ReLU(), GLOBAL, FLAT]),
        ([torch.tanh, GLOBAL, FLAT], [nn.Tanh(), GLOBAL, FLAT]),
        ([lambda x: F.avg_pool2d(x, 2), GLOBAL, FLAT], [TWO, GLOBAL, FLAT]),
        ([lambda x: F.max_pool2d(x, kernel_size=2), GLOBAL, FLAT], [LARGEST, GLOBAL, FLAT]),
    ],
)
def test_a_function_has_the_rule_of_its_module(images, functions, modules):
    pictures = images(2, 9)
    expected = relevance(Computing(*modules), pictures)
    torch.testing.assert_close(relevance(Computing(*functions), pictures), expected, rtol=1e-9, atol=1e-12)


class NormAndReLU(nn.BatchNorm2d):
    """A layer that captum has a rule for, and a ReLU in it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(super().forward(x))
        return out


def test_a_layer_with_a_module_in_it_has_its_rule(images):
    pictures = images(2, 9)
    expected = relevance(Computing(nn.BatchNorm2d(4), nn.ReLU(), GLOBAL, FLAT), pictures)
    torch.testing.assert_close(relevance(Computing(NormAndReLU(4), GLOBAL, FLAT), pictures), expected)
    computed = Computing(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), GLOBAL, FLAT)
    found = relevance(computed, pictures)
    nn.utils.parametrize.remove_parametrizations(computed.between[0], "weight")
    torch.testing.assert_close(found, LRP(computed, epsilon=0.1).raw(pictures, 1))


class Does(nn.Module):
    """A leaf."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs, **named) -> Tensor:
        return self.function(*inputs, **named)


class Called(nn.Module):
    """A leaf and a way of calling it."""

    def __init__(self, leaf: nn.Module, call) -> None:
        super().__init__()
        self.leaf, self.call = leaf, call

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.call(self.leaf, x)
        return out


@pytest.mark.parametrize(
    ("leaf", "call", "function"),
    [
        (nn.ReLU(), lambda leaf, x: leaf(input=x), nn.ReLU()),
        (nn.AvgPool2d(2), lambda leaf, x: leaf(input=x), nn.AvgPool2d(2)),
        (Does(lambda x, size: F.interpolate(x, size=size)), lambda leaf, x: leaf(x, 12), nn.Upsample(12)),
        (Does(lambda xs: torch.cat(xs, 1)), lambda leaf, x: leaf([x[:, :2], x[:, 2:]]), nn.Identity()),
        (Does(lambda xs: xs[0] + xs[1]), lambda leaf, x: leaf([x, x]), lambda x: x + x),
        (Does(lambda x: x.mul_(2)), lambda leaf, x: leaf(x), lambda x: 2 * x),
        (Does(lambda x, y: x.add_(y)), lambda leaf, x: leaf(x.clone(), x), lambda x: x + x),
        (Does(lambda x: (x, x)), lambda leaf, x: leaf(x)[0], nn.Identity()),
        (Does(torch.ones_like), lambda leaf, x: x + leaf(x.detach()), lambda x: x + 1),
        (Does(torch.no_grad()(lambda x: 0 * x + 1)), lambda leaf, x: x + leaf(x), lambda x: x + 1),
    ],
)
def test_a_leaf_that_is_called_in_another_way_has_the_rules_of_what_it_computes(images, leaf, call, function):
    pictures = images(2, 9)
    expected = relevance(Computing(function, GLOBAL, FLAT), pictures)
    torch.testing.assert_close(relevance(Computing(Called(leaf, call), GLOBAL, FLAT), pictures), expected)


def test_a_module_that_is_called_twice_is_explained_as_two_of_its_kind(images):
    pictures, twice, relu = images(2, 9), nn.Conv2d(4, 4, 3, bias=False), nn.ReLU()
    once = Computing(nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(), GLOBAL, FLAT)
    shared = drawn(Computing(twice, relu, twice, relu, GLOBAL, FLAT))
    drawn(once)
    for name in ("conv", "head"):
        getattr(once, name).load_state_dict(getattr(shared, name).state_dict())
    for each in (once.between[0], once.between[2]):
        each.load_state_dict(twice.state_dict())
    torch.testing.assert_close(LRP(shared).raw(pictures, 1), LRP(once).raw(pictures, 1))


def test_a_network_that_writes_into_what_it_is_given_is_explained(images):
    pictures, ahead = images(2, 9), nn.Sequential(Does(lambda x: x.sub_(0.5)), Computing(GLOBAL, FLAT))
    apart = nn.Sequential(Does(lambda x: x - 0.5), Computing(GLOBAL, FLAT))
    torch.testing.assert_close(relevance(ahead, pictures), relevance(apart, pictures))


def ruled(module: nn.Module) -> nn.Module:
    module.rule = EpsilonRule(0.1)
    return module


def test_a_rule_of_a_modules_own_leaves_what_flows_past_it_alone(images):
    pictures = images(2, 9)
    expected, found = (
        relevance(Computing(Called(conv, lambda leaf, x: leaf(x) + x), GLOBAL, FLAT), pictures)
        for conv in (nn.Conv2d(4, 4, 3, padding=1), ruled(nn.Conv2d(4, 4, 3, padding=1)))
    )
    torch.testing.assert_close(found, expected)


TWICE = ruled(nn.Conv2d(4, 4, 3, padding=1))


@pytest.mark.parametrize(
    ("between", "what"),
    [
        ([nn.Sigmoid()], r"lrp-epsilon has no rule for Sigmoid in module 'modules_between\.0' .*; .*lrp_rules"),
        ([torch.sigmoid], r"lrp-epsilon has no rule for Sigmoid in Computing itself"),
        ([lambda x: x * x.mean()], r"lrp-epsilon has no rule for Mul in Computing itself"),
        (
            [nn.BatchNorm2d(4, track_running_stats=False)],
            r"NativeBatchNormWithOwnStatistics in module .*\(BatchNorm2d\)",
        ),
        (
            [Called(nn.MaxPool2d(2, return_indices=True), lambda leaf, x: leaf(x)[0])],
            r"MaxPool2DWithIndices in module 'modules_between\.0\.leaf' \(MaxPool2d\); .*pooling without indices",
        ),
        ([TWICE, nn.ReLU(), TWICE], r"module 'modules_between\.0' \(Conv2d\) has a rule .* is called 2 times"),
        ([ruled(nn.Sequential(nn.ReLU()))], r"module 'modules_between\.0' \(Sequential\) has a rule .* modules in it"),
        (
            [Called(ruled(nn.Conv2d(4, 4, 3)), lambda leaf, x: leaf(input=x))],
            r"module 'modules_between\.0\.leaf' \(Conv2d\) has a rule of its own, and is not called with tensors alone",
        ),
    ],
)
def test_where_lrp_cannot_go_is_named(images, between, what):
    with pytest.raises(NotApplicable, match=what):
        relevance(Computing(*between, GLOBAL, FLAT), images(1, 9))


def test_a_relu_and_a_pool_that_two_parents_share_are_two(images):
    def made(relus: list[nn.Module], pools: list[nn.Module]) -> nn.Module:
        one = nn.Sequential(nn.Conv2d(3, 4, 3), relus[0], pools[0])
        two = nn.Sequential(nn.Conv2d(4, 4, 3), relus[1], pools[1])
        return drawn(nn.Sequential(one, two, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))

    expected = LRP(made([nn.ReLU(), nn.ReLU()], [nn.AvgPool2d(2), nn.AvgPool2d(2)])).raw(images(2, 20), 1)
    found = LRP(made([nn.ReLU()] * 2, [nn.AvgPool2d(2)] * 2)).raw(images(2, 20), 1)
    torch.testing.assert_close(found, expected)


class Pair(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(x), x


def test_logits_among_other_outputs_are_explained(tiny, images):
    pictures = images(2, 15)
    found = LRP(Classifier(Pair(tiny), output=0)).raw(pictures, 1)
    torch.testing.assert_close(found, LRP(tiny).raw(pictures, 1))


class Watching(nn.Module):
    """Sums two tensors twice, the first time for a look at them alone."""

    def __init__(self, *, watches: bool = True) -> None:
        super().__init__()
        self.watches = watches
        self.branch, self.pool, self.head = nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.watches:
            self.seen = (x + y).detach()
        out: Tensor = self.head(self.pool(x + y).flatten(1))
        return out


def test_a_sum_that_the_output_does_not_read_has_no_say(images):
    watching = drawn(Watching())
    blind = drawn(Watching(watches=False))
    torch.testing.assert_close(LRP(watching).raw(images(2, 9), 1), LRP(blind).raw(images(2, 9), 1))


def test_an_attribute_that_captum_uses_too_is_kept(tiny, images):
    pictures = images(2, 15)
    expected = LRP(tiny).raw(pictures, 1)
    tiny.conv1.activation = "none"
    torch.testing.assert_close(LRP(tiny).raw(pictures, 1), expected)
    assert tiny.conv1.activation == "none"


def test_it_is_found_by_the_name_that_it_had_before():
    assert find("lrp") is find(LRP.name) is LRP
