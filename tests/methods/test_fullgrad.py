"""FullGrad: the parts add up to the logit, and the map is the parts as the paper draws them."""

import copy
import warnings
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods import FullGrad
from camfaith.methods.fullgrad import full_gradients
from camfaith.models import Classifier


def close(found: Tensor, expected: Tensor, relative: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def added_up(parts: list[Tensor]) -> Tensor:
    return sum(part.flatten(1).sum(1) for part in parts)


@pytest.mark.parametrize("weights", ["random", "shipped"])
@pytest.mark.parametrize(("name", "layers"), [("fundus-resnet", 12), ("fundus-vgg", 8)])
def test_for_a_network_of_relus_the_parts_add_up_to_the_logit(reference, images, name, layers, weights):
    classifier, pictures, targets = reference(name, weights), images(3, 96), torch.tensor([0, 2, 4])
    score, parts = full_gradients(classifier, pictures, targets)
    close(score, classifier.scores(pictures)[range(3), targets])
    close(added_up(parts), score)
    assert len(parts) == 1 + layers
    for part in parts:  # none of them is idle
        assert (added_up(parts) - part.flatten(1).sum(1) - score).abs().max() > 1e-6


class Odd(nn.Module):
    """One convolution called twice, in-place ReLUs, batch norms with and without parameters, a linear layer over
    channels that come last, and a layer that sees nothing of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(4, 5)
        self.constant = nn.Linear(1, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.plain(self.twice(x)))
        x = self.relu(self.norm(self.twice(F.max_pool2d(x, 2))))
        x = self.relu(self.last(x.movedim(1, -1)))
        return self.head(x.mean((1, 2))) + 0 * self.constant(torch.ones(1, 1).to(x))


@pytest.fixture
def odd() -> nn.Module:
    network, source = Odd().double(), torch.Generator().manual_seed(6)
    for tensor in (*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())):
        nn.init.uniform_(tensor, 0.1, 0.9, generator=source)
        if tensor.ndim > 1:
            tensor.data.sub_(0.4)
    return network.eval()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layers_called_twice_written_over_or_without_parameters_add_up_too(odd, images, layout):
    pictures = images(2, 8).contiguous(
        memory_format=layout
    )  # the linear layer's output is a view where colours are last
    score, parts = full_gradients(Classifier(odd), pictures, torch.tensor([0, 2]))
    close(added_up(parts), score)
    assert sorted(tuple(part.shape[1:]) for part in parts) == [
        (3,), (3, 8, 8), (4, 4, 4), (4, 4, 4), (4, 8, 8), (4, 8, 8), (4, 8, 8), (5, 4, 4),
    ]  # fmt: skip


def test_a_network_that_writes_into_its_input_is_taken_apart(tiny, images):
    network, pictures = nn.Sequential(nn.ReLU(inplace=True), tiny), images(1, 9) - 0.5
    kept = pictures.clone()
    score, parts = full_gradients(Classifier(network), pictures, torch.tensor([1]))
    close(added_up(parts), score)
    assert torch.equal(pictures, kept)


def test_nothing_is_left_behind(odd, images):
    pictures = images(2, 8)
    kept = pictures.clone()
    odd.train().requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings(action="error"):
        found = FullGrad(odd).raw(pictures, 1)
    assert not found.requires_grad
    assert torch.equal(pictures, kept)
    assert all(module.training and not module._forward_hooks for module in odd.modules())
    assert all(p.grad is None and not p.requires_grad for p in odd.parameters())


def test_the_hooks_are_gone_when_the_network_fails(odd, images):
    odd.head.register_forward_pre_hook(lambda *_: 1 / 0)
    evidence_of = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3).double())).evidence(images(1, 8), 1)
    with pytest.raises(ZeroDivisionError):
        FullGrad(odd).explain(evidence_of, Classifier(odd))
    assert not any(module._forward_hooks for module in odd.modules())


def slow_scaled(values: Tensor, each_channel: bool, eps: float) -> Tensor:
    """|v| of one layer of one image between 0 and 1, channel by channel, summed."""
    size = values.abs()
    total = torch.zeros_like(size[0])
    for channel in size:
        low, high = (size.min(), size.max()) if not each_channel else (channel.min(), channel.max())
        total += (channel - low) / (high - low + eps)
    return total


@pytest.mark.parametrize(("variant", "each_channel", "eps"), [("paper", False, 0.0), ("pgc", True, 1e-7)])
def test_the_map_is_drawn_by_hand(tiny, images, variant, each_channel, eps):
    classifier = Classifier(tiny, mean=(0.5, 0.2, 0.1), std=(0.3, 0.4, 0.5))
    pictures, targets = images(2, 9), [1, 2]
    expected = []
    for picture, target in zip(pictures, targets, strict=True):
        mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (classifier.mean, classifier.std))
        x = ((picture - mean) / std).requires_grad_()
        one = F.conv2d(x[None], tiny.conv1.weight, tiny.conv1.bias, padding=1)
        two = F.conv2d(one.relu(), tiny.conv2.weight, tiny.conv2.bias, stride=2)
        score = tiny.head(two.relu().mean((2, 3)))[0, target]
        by_x, by_one, by_two = torch.autograd.grad(score, (x, one, two))
        parts = [
            by_x * x,
            by_one[0] * tiny.conv1.bias.view(-1, 1, 1),
            by_two[0] * tiny.conv2.bias.view(-1, 1, 1),
        ]
        drawn = torch.zeros(9, 9).double()
        for part in parts:
            scaled = slow_scaled(part.detach(), each_channel, eps)
            drawn += F.interpolate(scaled[None, None], size=(9, 9), mode="bilinear", align_corners=False)[0, 0]
        expected.append(drawn)
    close(FullGrad(classifier, variant=variant).raw(pictures, targets), torch.stack(expected))


def test_a_layer_without_contrast_adds_nothing(tiny, images):
    nn.init.zeros_(tiny.conv1.bias)
    nn.init.zeros_(tiny.conv2.bias)
    _, parts = full_gradients(Classifier(tiny), images(1, 9), torch.tensor([1]))
    size = parts[0].abs()
    close(FullGrad(tiny).raw(images(1, 9), 1), ((size - size.min()) / (size.max() - size.min())).sum(1))


@pytest.mark.parametrize("name", ["fundus-resnet", "fundus-vgg"])
def test_a_network_of_relus_is_explained_without_a_warning(reference, images, name):
    with warnings.catch_warnings(action="error"):
        FullGrad(reference(name)).raw(images(1, 96), 0)


def test_a_logit_that_the_parts_do_not_add_up_to_is_told(reference, linear_model, images):
    with pytest.warns(UserWarning, match="EffNet add does not sum to the logit"):
        assert FullGrad(reference("fundus-effnet")).raw(images(1, 48), 0).shape == (1, 48, 48)
    with pytest.warns(UserWarning, match="LinearModel add does not sum"):
        FullGrad(linear_model(5, 6)).raw(images(1, 5, 6), 0)


def test_fullgrad_of_pgc_agrees_with_pytorch_grad_cam(reference, images):
    pgc = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed; pip install 'camfaith[peers]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, pictures = copy.deepcopy(reference("fundus-vgg").network), images(2, 96)
    with pgc.FullGrad(network, []) as theirs:
        expected = torch.from_numpy(theirs(pictures, [ClassifierOutputTarget(1), ClassifierOutputTarget(3)]))
    found = FullGrad(network, variant="pgc")(pictures, [1, 3])
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)
    assert (found - FullGrad(network)(pictures, [1, 3])).abs().max() > 0.01


def test_the_parts_of_an_ordered_network_are_those_of_its_layers(images):
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
    nn.init.constant_(network.conv.bias, 0.5)
    score, parts = full_gradients(Classifier(network.double()), images(1, 4), torch.tensor([1]))
    expected = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    expected[:, 1] = 0.5 / 16
    close(parts[1], expected)
    close(parts[0], images(1, 4) * network.conv.weight[1].detach() / 16)
    close(added_up(parts), score)
