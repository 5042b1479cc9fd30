"""Guided backpropagation, deconvolution and guided GradCAM against values by hand."""

from dataclasses import replace

import pytest
import torch
from captum import attr as captum
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from camfaith.methods import LRP, Calls, Deconvolution, DeepLift, GradCAM, GuidedBackprop, GuidedGradCam, InputXGradient
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable


def guided_by_hand(network: nn.Module, images: Tensor, target: int, *, masked: bool = True) -> Tensor:
    """∂S_c/∂x of the tiny network whose ReLUs pass positive gradients alone, if `masked` where they are open."""
    one = F.conv2d(images, network.conv1.weight, network.conv1.bias, padding=1)
    two = F.conv2d(one.clamp(min=0), network.conv2.weight, network.conv2.bias, stride=2)
    cells = two.shape[2] * two.shape[3]
    flow = (network.head.weight[target] / cells).view(1, -1, 1, 1).expand_as(two)
    flow = flow.clamp(min=0) * ((two > 0) | (not masked))
    flow = torch.nn.grad.conv2d_input(one.shape, network.conv2.weight, flow, stride=2)
    flow = flow.clamp(min=0) * ((one > 0) | (not masked))
    return torch.nn.grad.conv2d_input(images.shape, network.conv1.weight, flow, padding=1).detach()


def test_guided_backprop_cuts_negative_flow_at_every_relu(tiny, images):
    pictures = images(2, 15)
    expected = guided_by_hand(tiny, pictures, 1)
    assert not torch.allclose(expected.sum(1) * pictures.sum(1), InputXGradient(tiny).raw(pictures, 1))
    torch.testing.assert_close(GuidedBackprop(tiny).raw(pictures, 1), expected.sum(1), rtol=1e-9, atol=1e-12)


def test_deconvolution_passes_positive_gradients_whether_or_not_a_relu_is_open(tiny, images):
    pictures = images(2, 15)
    expected = guided_by_hand(tiny, pictures, 1, masked=False)
    assert not torch.allclose(expected, guided_by_hand(tiny, pictures, 1))
    torch.testing.assert_close(Deconvolution(tiny).raw(pictures, 1), expected.sum(1), rtol=1e-9, atol=1e-12)


class Beside(nn.Module):
    """conv2(relu(x)) − x: what enters the ReLU also goes past it."""

    def __init__(self, before: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.relu, self.after = before, nn.ReLU(), after

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        out: Tensor = (self.after(self.relu(x)) - x).mean((2, 3))
        return out


def test_guided_backprop_leaves_what_flows_past_a_relu_alone(images):
    before, after = nn.Conv2d(3, 4, 3, padding=1).double(), nn.Conv2d(4, 4, 3, padding=1).double()
    for number, parameter in enumerate([*before.parameters(), *after.parameters()]):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    pictures = images(2, 9)
    one = before(pictures)
    flow = torch.zeros_like(one)
    flow[:, 1] = 1 / 81
    guided = torch.nn.grad.conv2d_input(one.shape, after.weight, flow, padding=1).clamp(min=0) * (one > 0)
    expected = torch.nn.grad.conv2d_input(pictures.shape, before.weight, guided - flow, padding=1).sum(1).detach()
    found = GuidedBackprop(Beside(before, after)).raw(pictures, 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_guided_gradcam_is_guided_backprop_times_upsampled_gradcam(tiny, images):
    pictures = images(2, 15)
    cam = GradCAM(tiny, "relu2").raw(pictures, 1).clamp(min=0)
    grown = F.interpolate(cam[:, None], size=(15, 15), mode="bilinear", align_corners=False)
    expected = (guided_by_hand(tiny, pictures, 1) * grown).sum(1)
    torch.testing.assert_close(GuidedGradCam(tiny, "relu2").raw(pictures, 1), expected, rtol=1e-9, atol=1e-12)


def test_guided_gradcam_reads_its_layer_from_the_evidence(tiny, images):
    pictures, classifier = images(2, 15), Classifier(tiny)
    method, evidence = GuidedGradCam(tiny, "relu2"), classifier.evidence(pictures, 1, ["relu2"])
    assert method.cost(pictures[:1]) == Calls(forwards=1, backwards=1)
    bright = replace(evidence, activations={"relu2": 3 * evidence.activations["relu2"]})
    torch.testing.assert_close(method.explain(bright, classifier), 3 * method.explain(evidence, classifier))
    with pytest.raises(ValueError, match="GradCAM needs evidence with gradients at 'relu2'"):
        method.explain(classifier.evidence(pictures, 1, ["relu2"], gradients=False), classifier)


RELUS = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu": Tensor.relu,
    "x.relu_": Tensor.relu_,
}


class Functional(nn.Module):
    """The tiny network with functions instead of its ReLU modules."""

    def __init__(self, tiny: nn.Module, relu: object) -> None:
        super().__init__()
        self.conv1, self.conv2, self.head, self.relu = tiny.conv1, tiny.conv2, tiny.head, relu

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.relu(self.conv2(self.relu(self.conv1(x)))).mean((2, 3)))
        return out


@pytest.mark.parametrize("relu", RELUS.values(), ids=list(RELUS))
@pytest.mark.parametrize("method", [GuidedBackprop, Deconvolution, GuidedGradCam])
def test_a_relu_is_guided_however_it_is_called(tiny, images, method, relu):
    pictures = images(2, 15)
    expected = method(tiny, "conv2").raw(pictures, 1)
    torch.testing.assert_close(method(Functional(tiny, relu), "conv2").raw(pictures, 1), expected)


def test_captum_guides_alike_where_every_relu_is_a_module_and_nothing_flows_past_one(tiny, images):
    pictures = images(2, 15)
    for own, theirs in ((GuidedBackprop, captum.GuidedBackprop), (Deconvolution, captum.Deconvolution)):
        expected = theirs(tiny).attribute(pictures.requires_grad_(), 1).sum(1)
        torch.testing.assert_close(own(tiny).raw(pictures, 1), expected, rtol=1e-9, atol=1e-12)
    expected = captum.GuidedGradCam(tiny, tiny.relu2).attribute(pictures, 1, interpolate_mode="bilinear").sum(1)
    torch.testing.assert_close(GuidedGradCam(tiny, "relu2").raw(pictures, 1), expected.detach(), rtol=1e-9, atol=1e-12)


class Checkpointed(nn.Module):
    """Keeps nothing of the tiny network's body for the way back, and runs it again there."""

    def __init__(self, tiny: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.body, self.head, self.reentrant = tiny[:4], tiny[4:], reentrant

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(checkpoint(self.body, x, use_reentrant=self.reentrant))
        return out


@pytest.mark.parametrize("method", [GuidedBackprop, Deconvolution, GuidedGradCam, DeepLift, LRP])
def test_a_network_that_runs_parts_of_itself_again_is_explained_alike(tiny, images, method):
    pictures = images(2, 15)
    expected = method(tiny, "relu2").raw(pictures, 1)
    torch.testing.assert_close(method(Checkpointed(tiny, reentrant=False), "body").raw(pictures, 1), expected)


@pytest.mark.parametrize("method", [GuidedBackprop, Deconvolution, DeepLift, LRP])
def test_a_network_that_runs_parts_of_itself_without_gradients_is_told_what_to_do(tiny, images, method):
    with pytest.raises(NotApplicable, match=r"Checkpointed runs a part of itself in .*; set use_reentrant=False"):
        method(Checkpointed(tiny, reentrant=True)).raw(images(2, 15), 1)


class Between(nn.Module):
    """Something else between the tiny network's second convolution and its head."""

    def __init__(self, tiny: nn.Module, function: object) -> None:
        super().__init__()
        self.conv1, self.relu1, self.conv2, self.head = tiny.conv1, tiny.relu1, tiny.conv2, tiny.head
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.function(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3)))
        return out


OTHERWISE = {
    "Clamp": lambda x: x.clamp(min=0),
    "ClampMin": lambda x: torch.clamp_min(x, 0),
    "Threshold": lambda x: F.threshold(x, 0, 0),
    "Maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "Relu": torch.ops.aten.relu.default,
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_relu_that_is_written_otherwise_is_named_with_its_module(tiny, images, name):
    network = nn.Sequential(Between(tiny, OTHERWISE[name]))
    with pytest.raises(NotApplicable, match=rf"{name} in module '0' \(Between\); write it as nn\.ReLU or F\.relu"):
        GuidedBackprop(network).raw(images(1, 15), 1)


NO_RELU = {
    "F.normalize": lambda x: F.normalize(x, dim=1),
    "generalised mean": lambda x: x.clamp(min=1e-6) ** 3,
    "up to six": lambda x: x.clamp(0, 6),
    "the larger of two": lambda x: torch.maximum(x, -x),
}


@pytest.mark.parametrize("function", NO_RELU.values(), ids=list(NO_RELU))
def test_what_is_no_relu_keeps_its_gradient_as_captum_has_it(tiny, images, function):
    network, pictures = Between(tiny, function), images(2, 15)
    expected = captum.GuidedBackprop(network).attribute(pictures.requires_grad_(), 1).sum(1)
    torch.testing.assert_close(GuidedBackprop(network).raw(pictures, 1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [GuidedBackprop, Deconvolution, GuidedGradCam])
def test_a_network_without_a_relu_cannot_be_guided(reference, images, method):
    with pytest.raises(NotApplicable, match="fundus-effnet runs none"):
        method(reference("fundus-effnet"), "features").raw(images(1, 96))


class ReLUBeside(nn.Module):
    """Its ReLU makes a bias of what is no image, as torchvision's Swin v2 does."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.table = nn.Conv2d(3, 4, 3), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.table(torch.ones(2)).relu()
        return F.gelu(self.convolution(x)).mean((2, 3)) + bias


@pytest.mark.parametrize("method", [GuidedBackprop, Deconvolution])
def test_a_relu_that_the_image_does_not_pass_guides_nothing(method):
    with pytest.raises(NotApplicable, match="ReLUBeside runs none on the image's way"):
        method(ReLUBeside()).raw(torch.rand(1, 3, 8, 8), 1)
