"""FullGrad: the parts add up to the logit, and the map is the parts as the paper draws them."""

import warnings
from collections import OrderedDict

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as vision
from torchvision.models.convnext import CNBlockConfig

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


def unsettled(network: nn.Module) -> nn.Module:
    """Weights, biases and statistics that are no zeros and ones, of batch norms whose variance is above zero."""
    source = torch.Generator().manual_seed(6)
    for tensor in (*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())):
        nn.init.uniform_(tensor, 0.1, 0.9, generator=source)
        if tensor.ndim > 1:
            tensor.data.sub_(0.45)
    return network.double().eval()


@pytest.fixture
def odd() -> nn.Module:
    return unsettled(Odd())


class Functional(nn.Module):
    """Functions of parameters that are no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.shift = nn.Parameter(torch.zeros(4, 3, 3, 3)), nn.Parameter(torch.zeros(4))
        self.rows, self.low = nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel, bias=self.shift, padding=1)
        x = F.batch_norm(x, self.shift, running_var=self.shift + 0.5, eps=0.1).relu()
        return F.linear(x.mean((2, 3)), self.rows, self.low)


class Windows(nn.Module):
    """A linear layer over the pixels of four quarters, each a row of the batch, and another over the whole grid."""

    def __init__(self, rows_of: str) -> None:
        super().__init__()
        self.conv, self.inside = nn.Conv2d(3, 4, 1), nn.Linear(4, 4)
        self.grid, self.head, self.rows_of = nn.Linear(4, 5), nn.Linear(5, 3), rows_of

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        cut = x.unflatten(3, (2, -1)).unflatten(2, (2, -1)).permute(0, 2, 4, 3, 5, 1).flatten(0, 2)
        if self.rows_of == "tokens":
            cut = cut.flatten(1, 2)
        x = self.inside(cut).relu().reshape(len(x), -1, 4)
        return self.head(self.grid(x.unflatten(1, (8, -1))).relu().mean((1, 2)))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Flatten(), nn.Linear(144, 3)), 4),
        (Functional(), 4),
        (Windows("pixels"), 5),
        (Windows("tokens"), 5),
    ],
    ids=["a batch norm that runs its own ReLU", "functions", "windows", "windows of tokens"],
)
def test_biases_add_up_whoever_adds_them_and_wherever_they_lie(images, network, count):
    classifier, pictures, targets = Classifier(unsettled(network)), images(2, 8), torch.tensor([0, 2])
    score, parts = full_gradients(classifier, pictures, targets)
    sums = [part.reshape(2, -1).sum(1) for part in parts]
    assert len(parts) == count
    assert all(float(one.abs().min()) > 1e-6 for one in sums)  # none of them is idle
    close(sum(sums), score)
    with warnings.catch_warnings(action="error"):
        FullGrad(classifier).raw(pictures, targets)


def test_a_network_of_timm_adds_up_as_far_as_its_precision_goes(images):
    network = unsettled(timm.create_model("regnetx_002", num_classes=3))
    score, parts = full_gradients(Classifier(network), images(2, 32), torch.tensor([0, 1]))
    close(added_up(parts), score)
    with warnings.catch_warnings(action="error"):
        FullGrad(network.bfloat16()).raw(images(2, 32), [0, 1])


@pytest.mark.parametrize("rows_of", ["pixels", "tokens"])
def test_a_linear_layer_is_drawn_over_the_grid_and_not_over_windows(images, rows_of):
    network = unsettled(Windows(rows_of))
    _, parts = full_gradients(Classifier(network), images(2, 8), torch.tensor([0, 2]))
    by_shape = {tuple(part.shape): part.abs() for part in parts}
    assert set(by_shape) - {(2, 3, 8, 8), (2, 4, 8, 8), (2, 5, 8, 8), (2, 3)} == {
        (8, 4, 4, 4) if rows_of == "pixels" else (8, 4, 16)
    }
    drawn = [by_shape[2, k, 8, 8] for k in (3, 4, 5)]
    low, high = ([bound(v, (1, 2, 3), keepdim=True) for v in drawn] for bound in (torch.amin, torch.amax))
    expected = sum(((v - a) / torch.where(b > a, b - a, 1)).sum(1) for v, a, b in zip(drawn, low, high, strict=True))
    close(FullGrad(network).raw(images(2, 8), [0, 2]), expected)


def test_small_shares_and_variances_are_no_zeros_in_half_precision(images):
    """g ⊙ b of 10⁻⁵ · 10⁻⁴, and σ² + ε of 10⁻⁷, are below what half precision tells from zero."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.BatchNorm2d(2, eps=1e-7), nn.Flatten(), nn.Linear(32, 2))
    for values, constant in ((network[0].weight, 0.1), (network[0].bias, 1e-4), (network[4].weight, 1e-5)):
        nn.init.constant_(values, constant)
    network[2].running_var.fill_(1e-6)
    network[2].running_mean.fill_(1e-2)
    _, parts = full_gradients(Classifier(network.half()), images(1, 4).half(), torch.tensor([1]))
    _, expected = full_gradients(Classifier(network.double()), images(1, 4), torch.tensor([1]))
    for part, precise in zip(parts, expected, strict=True):
        assert part.dtype == torch.float32
        close(part.double(), precise, 2e-3)


def test_of_a_norm_that_measures_the_images_itself_the_bias_is_no_part(images):
    for norm in (nn.BatchNorm2d(4, track_running_stats=False), nn.LayerNorm([4, 6, 6]), nn.GroupNorm(2, 4)):
        network = unsettled(nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Flatten(), nn.Linear(144, 3)))
        with pytest.warns(UserWarning, match="does not sum to the logit"):
            FullGrad(network).raw(images(2, 8), 1)
        assert len(full_gradients(Classifier(network), images(2, 8), torch.tensor([1, 1]))[1]) == 3


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
        parts = [by_x * x, by_one[0] * tiny.conv1.bias.view(-1, 1, 1), by_two[0] * tiny.conv2.bias.view(-1, 1, 1)]
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


def test_a_logit_that_the_parts_do_not_add_up_to_is_told(reference, linear_model, images):
    with pytest.warns(UserWarning, match="EffNet add does not sum to the logit"):
        assert FullGrad(reference("fundus-effnet")).raw(images(1, 48), 0).shape == (1, 48, 48)
    with pytest.warns(UserWarning, match="LinearModel add does not sum"):
        FullGrad(linear_model(5, 6)).raw(images(1, 5, 6), 0)


def convnext() -> nn.Module:
    return vision.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=4, layer_scale=1.0)


OF_PGC = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.Conv2d(4, 6, 3, 2), nn.ReLU(True), nn.Flatten(), nn.Linear(1176, 4)
    ),
    "convnext": convnext,
    "resnet": lambda: vision.resnet18(num_classes=4),
    "timm resnet": lambda: timm.create_model("resnet10t", num_classes=4),
    "timm regnet": lambda: timm.create_model("regnetx_002", num_classes=4),
    "timm swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=4, img_size=32, window_size=2, embed_dim=12, depths=(1, 1), num_heads=(2, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", OF_PGC)
def test_fullgrad_of_pgc_agrees_with_pytorch_grad_cam(logit_of, pgc, images, family):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = OF_PGC[family]().double().eval()
        for parameter in network.parameters():  # untrained biases are zero
            parameter.data += 0.1 * torch.rand_like(parameter)
    with pgc.FullGrad(network, []) as theirs:
        expected = torch.from_numpy(theirs(images(2, 32), [logit_of(1), logit_of(3)]))
    with warnings.catch_warnings(action="error"):
        found = FullGrad(network, variant="pgc")(images(2, 32), [1, 3])
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)
    assert float(expected.std()) > 0.1
    with warnings.catch_warnings(action="ignore"):
        assert (found - FullGrad(network)(images(2, 32), [1, 3])).abs().max() > 0.01


def test_the_parts_of_an_ordered_network_are_those_of_its_layers(images):
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
    nn.init.constant_(network.conv.bias, 0.5)
    score, parts = full_gradients(Classifier(network.double()), images(1, 4), torch.tensor([1]))
    expected = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    expected[:, 1] = 0.5 / 16
    close(parts[1], expected)
    close(parts[0], images(1, 4) * network.conv.weight[1].detach() / 16)
    close(added_up(parts), score)
