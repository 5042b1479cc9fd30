"""What all attributions of pixels have in common: declared cost, nothing left behind."""

import numpy as np
import pytest
import torch
import torchvision
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

from camfaith.methods import (
    LRP,
    SHIPPED,
    Calls,
    Deconvolution,
    DeepLift,
    FeatureAblation,
    GradCAM,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    KernelShap,
    LayerGradCam,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
    find,
)
from camfaith.methods.attribution import Attribution
from camfaith.models import Classifier

ON_CONVOLUTIONS = [name for name in SHIPPED if name not in ("rollout", "legrad")]
OPTIONS = {"rise": {"n_masks": 70}, "ss-cam": {"n_samples": 3}}
SIZES = [(24, 24), (33, 33), (21, 38)]
USING_RELU = [Saliency, InputXGradient, GuidedBackprop, Deconvolution, GuidedGradCam, LayerGradCam, Occlusion, GradCAM,
              DeepLift, LRP]  # fmt: skip
ATTRIBUTIONS = [name for name in SHIPPED if issubclass(find(name), Attribution)]


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
@pytest.mark.parametrize("name", ON_CONVOLUTIONS)
def test_the_declared_cost_is_what_is_called(tiny, images, name, size):
    classifier = Classifier(tiny)
    method = find(name)(classifier, "relu2", **OPTIONS.get(name, {}))
    masks = torch.ones(2, *size, dtype=torch.bool)
    evidence = classifier.evidence(images(2, *size), None, ["relu2"], seeds=torch.arange(2), masks=masks)
    # first, as a plan asks: what lies behind a layer is tried once
    expected = method.cost(evidence.images[:1]) + method.cost(evidence.images[1:])
    counter = Counter(tiny)
    method.explain(evidence, classifier)
    assert Calls(counter.forwards, counter.backwards) == expected


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Occlusion, {"window": 5, "stride": 3}),
        (Occlusion, {"window": 7}),
        (FeatureAblation, {"segments": 70}),
        (FeatureAblation, {"segments": 3}),
        (ShapleyValueSampling, {"segments": 9, "compactness": 50, "samples": 2}),
        (KernelShap, {"segments": 9, "compactness": 50, "samples": 70}),
    ],
)
def test_the_cost_follows_the_windows_and_the_superpixels(tiny, images, method, options):
    classifier = Classifier(tiny)
    method = method(classifier, **options)
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


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_nothing_is_left_on_the_network_or_in_a_global_generator(tiny, images, name):
    rule = tiny.conv1.rule = EpsilonRule()
    modules = [(key, module, set(vars(module)), set(module._modules)) for key, module in tiny.named_modules()]
    state = {key: value.clone() for key, value in tiny.state_dict().items()}
    options = {"samples": 20} if name in ("kernel-shap", "lime") else {}
    drawn, also = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    pictures = images(2, 16)
    kept = pictures.clone()
    find(name)(tiny, "relu2", **options).raw(pictures, 1)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert (np.random.get_state()[1] == also).all()  # noqa: NPY002
    assert torch.equal(pictures, kept)
    assert [(k, m, set(vars(m)), set(m._modules)) for k, m in tiny.named_modules()] == modules
    assert tiny.conv1.rule is rule
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for _, m, *_ in modules)
    assert all(torch.equal(value, state[key]) for key, value in tiny.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tiny.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_a_network_in_half_precision_colours_are_summed_in_single(images, dtype):
    weights = torch.tensor([1.0, 2**-11, 2**-12]).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[0].weight = nn.Parameter(weights.clone())
    found = InputXGradient(network.to(dtype)).raw(torch.ones(1, 3, 4, 4, dtype=dtype), 1)
    assert torch.equal(found, torch.full((1, 4, 4), float(weights[0].sum()) / 16))
