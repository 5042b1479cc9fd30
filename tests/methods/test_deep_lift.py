"""DeepLIFT: complete, equal to values by hand and to captum's, and refused where its rules do not hold."""

from collections import OrderedDict

import captum.attr
import pytest
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods import LRP, DeepLift, DeepLiftShap
from camfaith.methods.attribution import noise_baselines
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable


def seeded(classifier: Classifier, pictures: Tensor, targets: list[int]):
    return classifier.evidence(pictures, targets, seeds=torch.arange(len(pictures)) + 30)


def test_deep_lift_of_a_linear_model_is_weight_times_pixel(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = (model.weight[1] * pictures).sum(1).detach()
    torch.testing.assert_close(DeepLift(model).raw(pictures, 1), expected, rtol=1e-12, atol=1e-12)


def test_deep_lift_shap_of_a_linear_model_is_weight_times_the_mean_difference(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    classifier = Classifier(model)
    means = torch.stack([noise_baselines(x, 4, 30 + row).mean(0) for row, x in enumerate(pictures)])
    expected = (model.weight[1] * (pictures - means)).sum(1).detach()
    found = DeepLiftShap(model, baselines=4).explain(seeded(classifier, pictures, [1, 1]), classifier)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "side"), [("fundus-resnet", 40), ("fundus-vgg", 96)])
def test_deep_lift_sums_to_the_score_less_that_of_black(reference, images, name, side):
    classifier, pictures = reference(name), images(2, side)
    expected = (classifier.scores(pictures) - classifier.scores(torch.zeros_like(pictures)))[:, 3]
    torch.testing.assert_close(DeepLift(classifier).raw(pictures, 3).sum((1, 2)), expected, rtol=1e-9, atol=0)


def test_deep_lift_shap_sums_to_the_score_less_the_mean_of_its_baselines(reference, images):
    classifier, pictures = reference("fundus-resnet"), images(2, 32)
    scores = [classifier.scores(noise_baselines(x, 3, 30 + row)).mean(0) for row, x in enumerate(pictures)]
    expected = (classifier.scores(pictures) - torch.stack(scores))[:, 3]
    found = DeepLiftShap(classifier, baselines=3).explain(seeded(classifier, pictures, [3, 3]), classifier)
    torch.testing.assert_close(found.sum((1, 2)), expected, rtol=1e-9, atol=0)


def rescaled_by_hand(network: nn.Module, x: Tensor, target: int) -> Tensor:
    """x ⊙ m of the tiny network against black: from the head back, each ReLU passes Δout/Δin."""

    def layers(images: Tensor) -> tuple[Tensor, Tensor]:
        one = F.conv2d(images, network.conv1.weight, network.conv1.bias, padding=1)
        return one, F.conv2d(one.clamp(min=0), network.conv2.weight, network.conv2.bias, stride=2)

    def slope(at: Tensor, black: Tensor) -> Tensor:
        return (at.clamp(min=0) - black.clamp(min=0)) / (at - black)

    (one, two), (black_one, black_two) = layers(x), layers(torch.zeros_like(x))
    m = (network.head.weight[target] / (two.shape[2] * two.shape[3])).view(1, -1, 1, 1).expand_as(two)
    m = torch.nn.grad.conv2d_input(one.shape, network.conv2.weight, m * slope(two, black_two), stride=2)
    m = torch.nn.grad.conv2d_input(x.shape, network.conv1.weight, m * slope(one, black_one), padding=1)
    return (x * m).detach()


def test_deep_lift_is_the_rescale_rule_by_hand(tiny, images):
    pictures = images(2, 15)
    found = DeepLift(tiny).raw(pictures, 1)
    torch.testing.assert_close(found, rescaled_by_hand(tiny, pictures, 1).sum(1), rtol=1e-9, atol=1e-12)


def chain(relus: list[nn.Module], pools: list[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layers = [nn.Conv2d(3, 4, 3), relus[0], pools[0], nn.Conv2d(4, 4, 3), relus[1], pools[1]]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3)).double()


def test_a_module_that_is_called_twice_is_explained_as_two_of_its_kind(images):
    relu, pool, pictures = nn.ReLU(), nn.MaxPool2d(2), images(2, 14)
    shared = chain([relu, relu], [pool, pool])
    apart = chain([nn.ReLU(), nn.ReLU()], [nn.MaxPool2d(2), nn.MaxPool2d(2)])
    found = DeepLift(shared).raw(pictures, 1)
    torch.testing.assert_close(found, DeepLift(apart).raw(pictures, 1), rtol=1e-12, atol=1e-12)
    assert shared[1] is shared[4] is relu
    assert shared[2] is shared[5] is pool


class Beside(nn.Module):
    """mean(relu(conv(x)) − conv(x)/2): what enters the ReLU also goes past it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.relu = nn.Conv2d(3, 2, 3).double(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return (self.relu(x) - x / 2).mean((2, 3))


def pooled(first: nn.Module, second: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        body = [nn.Conv2d(3, 4, 3), first, nn.Conv2d(4, 4, 3), nn.ReLU(), second]
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)).double()


class Pooled(nn.Module):
    """Rows of pixels, or pixels three deep, behind a convolution."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.conv, self.head = nn.Conv2d(3, 4, 3).double(), nn.Linear(8, 3).double()
        self.pool, self.deep = pool, isinstance(pool, nn.MaxPool3d)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.pool(x.view(len(x), 2, 2, *x.shape[2:]) if self.deep else x.flatten(2))
        return self.head(F.adaptive_avg_pool1d(x.flatten(1)[:, None], 8)[:, 0])


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (pooled(nn.MaxPool2d(2), nn.Identity()), 16),
        (Pooled(nn.MaxPool1d(3)), 11),
        (Pooled(nn.MaxPool3d(2)), 11),
    ],
)
def test_captums_own_call_gives_the_same_where_windows_of_max_pooling_do_not_overlap(images, network, side):
    picture = images(1, side)
    theirs = captum.attr.DeepLift(network).attribute(picture, target=2).detach()
    torch.testing.assert_close(DeepLift(network).raw(picture, 2), theirs.sum(1), rtol=1e-9, atol=1e-12)


OVERLAPPING = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1), nn.MaxPool2d(3, 2, ceil_mode=True)]


@pytest.mark.parametrize(
    ("network", "side"),
    [
        *((pooled(pool, pool), 16) for pool in OVERLAPPING),
        (Pooled(nn.MaxPool1d(3, 2, 1)), 11),
        (Pooled(nn.MaxPool3d((1, 3, 3), 2)), 11),
        (Beside(), 9),
    ],
)
def test_neither_overlapping_windows_of_max_pooling_nor_what_flows_past_a_relu_lose_anything(images, network, side):
    pictures, scores = images(3, side), Classifier(network).scores
    expected = (scores(pictures) - scores(torch.zeros_like(pictures)))[:, 1]
    torch.testing.assert_close(DeepLift(network).raw(pictures, 1).sum((1, 2)), expected, rtol=1e-9, atol=1e-12)


def test_captums_own_rules_are_back_afterwards(images):
    before = dict(SUPPORTED_NON_LINEAR)
    DeepLift(pooled(nn.MaxPool2d(3, 1), nn.Identity())).raw(images(1, 10), 1)
    assert before == SUPPORTED_NON_LINEAR


def test_the_rows_of_a_batch_do_not_mix_in_max_pooling():
    """Red and green of the second image cancel, so each Δin is 0 and the pool's own gradient stands for the quotient:
    captum's rule would take that of the first image."""
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 1, 1), pool=nn.MaxPool2d(2), flat=nn.Flatten(1)))
    network.append(nn.Linear(1, 2)).double()
    network.conv.weight.data = torch.tensor([1.0, -1, 0]).double().view(1, 3, 1, 1)
    pictures = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    pictures[0, 0] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    pictures[1, :2] = torch.tensor([[0.5, 0.6], [0.7, 0.8]])
    explain = captum.attr.DeepLift(Classifier(network)).attribute
    alone = explain(pictures[1:], target=1).detach()
    assert not torch.allclose(explain(pictures, target=1).detach()[1:], alone)
    method = DeepLift(network)
    method.combine = lambda attributions: attributions[:, 0]
    torch.testing.assert_close(method.raw(pictures, 1)[1:], alone[:, 0])


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)).mean((2, 3))


class Gated(Functional):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (x * x.mean((2, 3), keepdim=True)).mean((2, 3))


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (Functional(), r"Relu in Functional itself; .*nn\.ReLU"),
        (nn.Sequential(Functional(), nn.Flatten()), r"Relu in module '0' \(Functional\)"),
        (Gated(), r"Mul in Gated itself"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"'1' \(GELU\)"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.InstanceNorm2d(2), nn.Flatten()), r"'1' \(InstanceNorm2d\)"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Softmax(1), nn.Flatten()), r"Softmax in module '1' \(Softmax\)"),
    ],
)
def test_what_has_no_rule_is_named(network, what):
    with pytest.raises(NotApplicable, match=f"deep-lift has no rule for .*{what}"):
        DeepLift(network).raw(torch.rand(1, 3, 8, 8), 1)


@pytest.mark.parametrize(
    ("relu", "call"),
    [
        (nn.ReLU(), lambda relu, x: relu(input=x)),
        (nn.ReLU(), lambda relu, x: x + relu(x.detach())),
        (nn.MaxPool2d(2, return_indices=True), lambda pool, x: pool(x)[0]),
    ],
)
def test_a_module_whose_call_captum_cannot_follow_is_named(tiny, images, relu, call):
    tiny.relu1 = Called(relu, call)
    with pytest.raises(
        NotApplicable, match=rf"deep-lift: module 'relu1\.inner' \({type(relu).__name__}\) is not called"
    ):
        DeepLift(tiny).raw(images(1, 15), 1)


class Called(nn.Module):
    def __init__(self, inner: nn.Module, call) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.call(self.inner, x)
        return out


@pytest.mark.parametrize("method", [DeepLift, LRP], ids=lambda method: method.name)
@pytest.mark.parametrize("layer", ["", "conv1", "relu1", "relu2"])
def test_backward_hooks_of_the_networks_own_rest_meanwhile(tiny, images, method, layer):
    pictures, seen = images(2, 15), []
    expected = method(tiny).raw(pictures, 1)
    module = tiny.get_submodule(layer)
    handles = [
        module.register_full_backward_pre_hook(lambda _module, _flow: seen.append("before")),
        module.register_full_backward_hook(lambda _module, _back, _flow: seen.append("after")),
    ]
    torch.testing.assert_close(method(tiny).raw(pictures, 1), expected)
    assert seen == []
    tiny(pictures.requires_grad_()).sum().backward()
    assert seen == ["before", "after"]
    for handle in handles:
        handle.remove()
    assert not module._backward_hooks
    assert not module._backward_pre_hooks


class Masking(nn.Module):
    """A ReLU that its gradient does not show."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > 0)


def test_a_function_that_gradients_do_not_show_is_found_by_the_sum(tiny, images):
    tiny.relu1 = Masking()
    with pytest.raises(NotApplicable, match=r"deep-lift: the map does not sum to S\(x\) − S\(b\)"):
        DeepLift(tiny).raw(images(2, 15), 1)


class Listing(nn.Module):
    """Calls its one ReLU from a list."""

    def __init__(self, tiny: nn.Module) -> None:
        super().__init__()
        self.tiny = tiny
        self.order = [tiny.conv1, tiny.relu1, tiny.conv2, tiny.relu1]

    def forward(self, x: Tensor) -> Tensor:
        for module in self.order:
            x = module(x)
        out: Tensor = self.tiny.head(x.mean((2, 3)))
        return out


def test_a_module_whose_calls_cannot_be_told_apart_is_an_error_and_works_as_before_afterwards(tiny, images):
    network, pictures = Listing(tiny), images(2, 15)
    expected = network(pictures)
    with pytest.raises(NotApplicable, match=r"a ReLU that runs several times .* call it as self\.<name>"):
        DeepLift(network).raw(pictures, 1)
    torch.testing.assert_close(network(pictures), expected)


def test_a_relu_that_two_parents_share_is_two(tiny, images):
    blocks = nn.Sequential(nn.Sequential(tiny.conv1, tiny.relu1), nn.Sequential(tiny.conv2, tiny.relu1))
    network = nn.Sequential(blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), tiny.head)
    pictures = images(2, 15)
    torch.testing.assert_close(DeepLift(network).raw(pictures, 1), DeepLift(tiny).raw(pictures, 1))
    assert blocks[0][1] is blocks[1][1] is tiny.relu1
