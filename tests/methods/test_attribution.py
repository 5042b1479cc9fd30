"""Captum's attributions under our rules: known values, declared cost, nothing left behind."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods import (
    SHIPPED,
    Calls,
    GradCAM,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
    find,
)
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable

SIZES = [(24, 24), (33, 33), (21, 38)]
OPTIONS = {"rise": {"n_masks": 70}, "ss-cam": {"n_samples": 3}}
USING_RELU = [Saliency, InputXGradient, GuidedBackprop, GuidedGradCam, LayerGradCam, Occlusion, GradCAM]


def test_input_x_gradient_of_a_linear_model_is_weight_times_pixel(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = torch.stack([(model.weight[1] * pictures[0]).sum(0), (model.weight[0] * pictures[1]).sum(0)])
    torch.testing.assert_close(InputXGradient(model).raw(pictures, [1, 0]), expected.detach(), rtol=1e-12, atol=1e-12)


def test_saliency_of_a_linear_model_is_the_largest_weight_of_a_pixel(linear_model, images):
    model = linear_model(5, 6)
    expected = model.weight[1].abs().amax(0).expand(2, 5, 6)
    torch.testing.assert_close(Saliency(model).raw(images(2, 5, 6), 1), expected.detach(), rtol=1e-12, atol=1e-12)


def test_integrated_gradients_of_a_linear_model_are_exact(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = (model.weight[1] * pictures).sum(1).detach()  # to captum's single-precision step sizes
    torch.testing.assert_close(IntegratedGradients(model, n_steps=2).raw(pictures, 1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "side", "tolerance"),
    [("fundus-resnet", 40, 0.03), ("fundus-vgg", 96, 0.1), ("fundus-effnet", 40, 1e-6)],  # kinks cost, SiLU has none
)
def test_integrated_gradients_sum_to_the_score_less_that_of_black(reference, images, name, side, tolerance):
    classifier, pictures = reference(name), images(2, side)
    black = torch.zeros_like(pictures)
    expected = classifier.scores(pictures)[:, 3] - classifier.scores(black)[:, 3]
    found = IntegratedGradients(classifier, n_steps=48).raw(pictures, 3).sum((1, 2))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)


def slow_occlusion(weight: Tensor, picture: Tensor, window: int, stride: int) -> Tensor:
    """The mean over the windows that cover a pixel of Σ w·x inside the window."""
    height, width = picture.shape[1:]
    product = (weight * picture).sum(0)
    total, count = torch.zeros(height, width).double(), torch.zeros(height, width).double()
    rows, columns = (-(-(side - window) // stride) + 1 for side in (height, width))
    for i in range(rows):
        for j in range(columns):
            inside = (slice(i * stride, i * stride + window), slice(j * stride, j * stride + window))
            total[inside] += product[inside].sum()
            count[inside] += 1
    return total / count


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (4, 3), (3, 1)])
def test_occlusion_of_a_linear_model_is_the_mean_over_windows(linear_model, images, window, stride):
    model, pictures = linear_model(9, 11), images(2, 9, 11)
    expected = torch.stack([slow_occlusion(model.weight[1].detach(), picture, window, stride) for picture in pictures])
    found = Occlusion(model, window=window, stride=stride).raw(pictures, 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # captum sums in single precision


@pytest.mark.parametrize(("name", "layer"), [("fundus-vgg", "features.10"), ("fundus-effnet", "features.4")])
def test_captums_gradcam_is_ours(reference, images, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    ours, theirs = (method(classifier, layer).raw(pictures, [0, 3]) for method in (GradCAM, LayerGradCam))
    torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9 * float(ours.abs().max()))


def guided_by_hand(network: nn.Module, images: Tensor, target: int) -> Tensor:
    """∂S_c/∂x of the tiny network with every ReLU passing positive gradients alone."""
    one = F.conv2d(images, network.conv1.weight, network.conv1.bias, padding=1)
    two = F.conv2d(one.clamp(min=0), network.conv2.weight, network.conv2.bias, stride=2)
    cells = two.shape[2] * two.shape[3]
    flow = (network.head.weight[target] / cells).view(1, -1, 1, 1).expand_as(two)
    flow = flow.clamp(min=0) * (two > 0)
    flow = torch.nn.grad.conv2d_input(one.shape, network.conv2.weight, flow, stride=2)
    flow = flow.clamp(min=0) * (one > 0)
    return torch.nn.grad.conv2d_input(images.shape, network.conv1.weight, flow, padding=1).detach()


def test_guided_backprop_cuts_negative_flow_at_every_relu(tiny, images):
    pictures = images(2, 15)
    expected = guided_by_hand(tiny, pictures, 1)
    assert not torch.allclose(expected.sum(1) * pictures.sum(1), InputXGradient(tiny).raw(pictures, 1))
    torch.testing.assert_close(GuidedBackprop(tiny).raw(pictures, 1), expected.sum(1), rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize("method", [GuidedBackprop, GuidedGradCam])
def test_a_network_without_relu_modules_cannot_be_guided(reference, images, method):
    with pytest.raises(NotApplicable, match="EffNet has none"):
        method(reference("fundus-effnet"), "features").raw(images(1, 96))


class Counter:
    """Counts the images that pass a network forward and those whose score comes back."""

    def __init__(self, network: nn.Module) -> None:
        self.forwards = self.backwards = 0
        network.register_forward_hook(self.forward)

    def forward(self, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.forwards += len(inputs[0])
        if output.requires_grad:
            output.register_hook(self.backward)

    def backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_declared_cost_is_what_is_called(tiny, images, name, size):
    classifier = Classifier(tiny)
    method = find(name)(classifier, "relu2", **OPTIONS.get(name, {}))
    masks = torch.ones(2, *size, dtype=torch.bool)
    evidence = classifier.evidence(images(2, *size), None, ["relu2"], seeds=torch.arange(2), masks=masks)
    declared = method.cost(evidence.images[:1])  # first, as a plan asks: what lies behind a layer is tried once
    counter = Counter(tiny)
    method.explain(evidence, classifier)
    assert Calls(counter.forwards, counter.backwards) == declared * 2


@pytest.mark.parametrize("options", [{"window": 5, "stride": 3}, {"window": 7}])
def test_the_cost_of_occlusion_follows_its_window(tiny, images, options):
    classifier = Classifier(tiny)
    method = Occlusion(classifier, **options)
    evidence = classifier.evidence(images(1, 23, 30))
    counter = Counter(tiny)
    method.explain(evidence, classifier)
    assert Calls(counter.forwards, counter.backwards) == method.cost(evidence.images)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0"])
@pytest.mark.parametrize("method", USING_RELU, ids=lambda method: method.name)
def test_in_place_and_reused_relu_modules_work_and_stay_in_place(name, method):
    network = torchvision.models.get_model(name, weights=None, num_classes=4).eval()
    options = {"window": 32, "stride": 32} if method is Occlusion else {}
    before = {key: module.inplace for key, module in network.named_modules() if hasattr(module, "inplace")}
    assert any(before.values())
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = method(network, **options).raw(picture, 2)
    assert torch.isfinite(found).all()
    assert {key: module.inplace for key, module in network.named_modules() if hasattr(module, "inplace")} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("method", [Saliency, GuidedBackprop, LayerGradCam], ids=lambda method: method.name)
def test_in_place_and_out_of_place_networks_are_explained_alike(method):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = torchvision.models.squeezenet1_0(weights=None, num_classes=4).eval()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = method(network, "features.7").raw(picture, 2)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    torch.testing.assert_close(method(network, "features.7").raw(picture, 2), found)


def test_the_place_is_restored_when_the_network_fails(tiny, images):
    tiny.relu1.inplace = True
    evidence = Classifier(tiny).evidence(images(1, 16), None, ["relu2"])

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    tiny.head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        Saliency(tiny).explain(evidence, Classifier(tiny))
    assert tiny.relu1.inplace
