"""What a network does in one forward, module by module."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import trace


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.SiLU()

    def forward(self, x: Tensor, *, other: Tensor) -> Tensor:
        return F.relu(self.act(x)) + other


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner, self.unused = nn.Conv2d(3, 3, 1), Inner(), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(torch.sigmoid(self.conv(x)), other=torch.tanh(x))
        x = self.inner(x, other=x)
        return x.mean((2, 3))


def names(network: nn.Module) -> list[tuple[str, list[str]]]:
    steps, _ = trace(Classifier(network), torch.rand(1, 3, 4, 4))
    return [(step.name, sorted(function.name for function in step.functions)) for step in steps]


def test_a_function_belongs_to_the_innermost_module_that_runs_it():
    assert names(Outer()) == [
        ("conv", ["Convolution"]),
        ("inner.act", ["Silu"]),
        ("inner", ["Add", "Relu"]),
        ("inner.act", ["Silu"]),
        ("inner", ["Add", "Relu"]),
        ("", ["Mean", "Sigmoid", "Tanh"]),
    ]


class Flattens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.head = nn.ReLU(), nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(x).view(len(x), -1))


def test_a_forward_that_is_begun_anew_for_another_layout_counts_once():
    images = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    steps, _ = trace(Classifier(Flattens()), images)
    assert [step.name for step in steps] == ["act", "head", ""]


def test_the_network_is_given_the_normalised_images():
    images = torch.rand(2, 3, 4, 4)
    steps, given = trace(Classifier(nn.Flatten(), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)), images)
    torch.testing.assert_close(given, (images - 0.5) / 0.2)
    assert [function.moves for function in steps[0].functions] == [True]
    assert not images.requires_grad


class Computes(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Clone(torch.autograd.Function):
    """Bears the name of one of PyTorch's own, and is no copy."""

    @staticmethod
    def forward(_ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(_ctx, flow):
        return flow


@pytest.mark.parametrize(
    ("function", "linear"),
    [
        (lambda x: x.flatten(1) * 2 / 3 - 1, True),
        (lambda x: 1 - x.mean((2, 3)), True),
        (lambda x: torch.cat([x, x.transpose(2, 3)], 1).sum(1), True),
        (lambda x: x @ torch.rand(4, 4), True),
        (lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3), True),
        (lambda x: x * x, False),
        (lambda x: x @ x, False),
        (lambda x: torch.ones(4) / x, False),
        (lambda x: x.clamp(min=0), False),
        (lambda x: torch.div(x, 0.1, rounding_mode="floor"), False),
        (lambda x: Clone.apply(x), False),
        (lambda x: F.max_pool2d(x, 2), False),
        (lambda x: F.softmax(x, 1), False),
        (nn.BatchNorm2d(3).eval(), True),
        (nn.BatchNorm2d(3, track_running_stats=False).eval(), False),
        (nn.InstanceNorm2d(3), False),
        (nn.LayerNorm(4), False),
    ],
)
def test_what_is_linear_is_known(function, linear):
    steps, _ = trace(Classifier(Computes(function), head=lambda outputs: outputs.flatten(1)), torch.rand(1, 3, 4, 4))
    assert all(each.linear for step in steps for each in step.functions) is linear


def calls(network: nn.Module) -> list[tuple[str, list[tuple[int, list[str]]]]]:
    steps, _ = trace(Classifier(network), torch.rand(1, 3, 4, 4))
    numbered = [
        (step.name, [(call.number, [each.name for each in call.functions]) for call in step.calls]) for step in steps
    ]
    return [(name, found) for name, found in numbered if found]


def test_calls_of_layers_functions_are_numbered_as_they_are_made():
    assert calls(Outer()) == [
        ("conv", [(1, ["Convolution"])]),
        ("inner", [(3, ["Relu"]), (4, ["Add"])]),
        ("inner", [(5, ["Relu"]), (6, ["Add"])]),
        ("", [(2, ["Tanh"]), (7, ["Mean"])]),
    ]


class Remarking(nn.Module):
    """Computes what the logits do not depend on, inside a module and outside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x, other=F.relu(x))
        return x.mean((2, 3))


def test_a_call_that_the_logits_do_not_depend_on_has_its_number_and_no_functions():
    assert calls(Remarking()) == [("inner", [(2, []), (3, [])]), ("", [(1, []), (4, ["Mean"])])]


class Calling(nn.Module):
    def __init__(self, module: nn.Module, call) -> None:
        super().__init__()
        self.inner, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        x = self.call(self.inner, x * 1)
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("module", "call", "plain"),
    [
        (nn.ReLU(), lambda module, x: module(x), True),
        (nn.Identity(), lambda module, x: module(x), True),
        (nn.ReLU(inplace=True), lambda module, x: module(x), False),
        (nn.ReLU(), lambda module, x: module(input=x), False),
        (nn.MaxPool2d(2, return_indices=True), lambda module, x: module(x)[0], False),
        (Computes(lambda x: x[0] + x[1]), lambda module, x: module([x, x]), False),
        (Computes(torch.abs), lambda module, x: module(x.detach()) * x, False),
        (Computes(Tensor.detach), lambda module, x: module(x) * x, False),
    ],
)
def test_a_plain_call_is_told_from_one_that_hooks_do_not_see_whole(module, call, plain):
    steps, _ = trace(Classifier(Calling(module, call)), torch.rand(1, 3, 4, 4))
    assert steps[0].plain is plain


class Holding(nn.Module):
    """Logits in a form that only the classifier can read, beside what they do not depend on."""

    def forward(self, x: Tensor) -> SimpleNamespace:
        logits = F.relu(x).mean((2, 3))
        return SimpleNamespace(logits=logits, probabilities=logits.softmax(1))


def test_of_the_network_itself_what_the_logits_depend_on_is_seen():
    assert names(Holding()) == [("", ["Mean", "Relu"])]


def test_a_torchscript_module_is_named():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), torch.jit.script(nn.ReLU()), nn.Flatten())
    with pytest.raises(NotApplicable, match="what module '1' computes cannot be seen, because it is TorchScript"):
        trace(Classifier(network), torch.rand(1, 3, 4, 4))
    assert not any(module._forward_hooks for module in network.modules())
