"""Padding by the activations' own border against networks whose padding is written out."""

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.models.errors import NotApplicable
from camfaith.models.inside.padding import padding_by


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Calling(nn.Module):
    """A network that is one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


KERNEL, EVEN = noise(4, 2, 3, 3), noise(4, 2, 4, 2)


def around(x: Tensor, left: int, right: int, top: int, bottom: int, border: str) -> Tensor:
    """Row by row and column by column: 2 1 | 0 1 2 … n−1 | n−2 n−3, or 0 0 | 0 1 2 … n−1 | n−1 n−1."""

    def places(n: int, before: int, after: int) -> list[int]:
        mirror = [abs(i) if i < n else 2 * (n - 1) - i for i in range(-before, n + after)]
        return mirror if border == "reflect" else [min(max(i, 0), n - 1) for i in range(-before, n + after)]

    return x[:, :, places(x.shape[2], top, bottom)][:, :, :, places(x.shape[3], left, right)]


ZERO_PADDED = {
    "by number": (lambda x: F.conv2d(x, KERNEL, padding=1), lambda x, b: F.conv2d(around(x, 1, 1, 1, 1, b), KERNEL)),
    "by axis, with a stride": (
        lambda x: F.conv2d(x, KERNEL, None, 2, (2, 1)),
        lambda x, b: F.conv2d(around(x, 1, 1, 2, 2, b), KERNEL, stride=2),
    ),
    "same, dilated": (
        lambda x: F.conv2d(x, EVEN, padding="same", dilation=2),
        lambda x, b: F.conv2d(around(x, 1, 1, 3, 3, b), EVEN, dilation=2),
    ),
    "same, of an even kernel": (
        lambda x: F.conv2d(x, EVEN, padding="same"),
        lambda x, b: F.conv2d(around(x, 0, 1, 1, 2, b), EVEN),
    ),
    "before the convolution": (
        lambda x: F.conv2d(F.pad(x, (0, 1, 2, 1)), KERNEL),
        lambda x, b: F.conv2d(around(x, 0, 1, 2, 1, b), KERNEL),
    ),
    "a module": (nn.ZeroPad2d((1, 0, 0, 2)), lambda x, b: around(x, 1, 0, 0, 2, b)),
    "an average": (lambda x: F.avg_pool2d(x, 3, 2, 1), lambda x, b: F.avg_pool2d(around(x, 1, 1, 1, 1, b), 3, 2)),
}
OTHERWISE = {
    "without padding": lambda x: F.conv2d(x, KERNEL),
    "valid": lambda x: F.conv2d(x, KERNEL, padding="valid"),
    "around": lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), KERNEL),
    "with ones": lambda x: F.pad(x, (1, 1, 1, 1), value=1.0),
    "cut off": lambda x: F.pad(x, (-1, -1, -1, -1)),
    "more channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)),
    "tokens": lambda x: F.pad(x.flatten(2), (1, 1)),
    "the largest": lambda x: F.max_pool2d(x, 3, 2, 1),
    "an average of what is there": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
}


@pytest.mark.parametrize("border", ["reflect", "replicate"])
@pytest.mark.parametrize("kind", ZERO_PADDED)
def test_zeros_become_the_border_forward_and_backward(kind, border):
    padded, written_out = ZERO_PADDED[kind]
    x = noise(2, 2, 7, 6).requires_grad_()
    network, before = Calling(padded), padded(x)
    with padding_by(network, border):
        found = network(x)
    expected = written_out(x, border)
    assert not torch.allclose(expected, before)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), x)[0] for each in (found, expected)))
    assert torch.equal(network(x), before)


@pytest.mark.parametrize("kind", OTHERWISE)
def test_what_adds_no_zeros_around_a_grid_stays(kind):
    x, network = noise(2, 2, 7, 6), Calling(OTHERWISE[kind])
    with padding_by(network, "reflect"):
        found = network(x)
    assert torch.equal(found, network(x))


def test_the_outermost_cells_are_repeated_where_there_are_too_few_to_mirror():
    x = torch.tensor([[1.0, 2.0]])[None, None]
    with padding_by(nn.Identity(), "reflect"):
        assert F.pad(x, (1, 1, 1, 1)).tolist() == [[[[1, 1, 2, 2]] * 3]]


def test_a_network_of_modules_is_the_one_made_with_reflection_and_is_not_touched():
    def built(mode: str) -> nn.Module:
        torch.manual_seed(1)
        first, second = nn.Conv2d(3, 4, 5, 2, 2, padding_mode=mode), nn.Conv2d(4, 4, 3, 1, 1, 1, 4, padding_mode=mode)
        return nn.Sequential(first, nn.BatchNorm2d(4), nn.SiLU(), second, nn.Flatten()).double().eval()

    network, x = built("zeros"), noise(2, 3, 9, 9)
    held = [dict(vars(module)) for module in network.modules()]
    with suppress(ZeroDivisionError), padding_by(network, "reflect"):
        assert [dict(vars(module)) for module in network.modules()] == held
        torch.testing.assert_close(network(x), built("reflect")(x))
        raise ZeroDivisionError
    assert torch.equal(network(x), built("zeros")(x))


def test_compiled_code_does_not_hide_the_padding():
    plain, x = nn.Conv2d(2, 3, 3, padding=1).double(), noise(1, 2, 5, 5)
    network = nn.Sequential(torch.compile(plain, backend="eager"))
    network(x)
    with padding_by(network, "reflect"):
        torch.testing.assert_close(network(x), F.conv2d(around(x, 1, 1, 1, 1, "reflect"), plain.weight, plain.bias))


def test_torchscript_which_hides_it_is_refused():
    with (
        pytest.raises(NotApplicable, match="it is TorchScript"),
        padding_by(nn.Sequential(torch.jit.script(nn.Conv2d(2, 3, 3, padding=1))), "reflect"),
    ):
        pass
