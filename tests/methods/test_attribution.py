"""What attributions of pixels have in common: declared cost, ReLUs as they were, sums in single precision."""

import pytest
import torch
from torch import nn

from camfaith.methods import (
    LRP,
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
)
from camfaith.models import Classifier
from camfaith.models.speed.counting import counting

USING_RELU = [Saliency, InputXGradient, GuidedBackprop, Deconvolution, GuidedGradCam, LayerGradCam, Occlusion, GradCAM,
              DeepLift, LRP]  # fmt: skip


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
    with counting(tiny) as tally:
        method.explain(evidence, classifier)
    assert Calls(tally.forwards, tally.backwards) == method.cost(evidence.images)


@pytest.mark.parametrize("method", USING_RELU, ids=lambda method: method.name)
def test_a_relu_in_place_and_used_twice_is_explained_as_two_out_of_place_and_stays_as_it_was(tiny, images, method):
    expected = method(tiny, "conv2").raw(images(2, 15), 2)
    tiny.relu1 = tiny.relu2 = shared = nn.ReLU(inplace=True)
    torch.testing.assert_close(method(tiny, "conv2").raw(images(2, 15), 2), expected)
    assert shared.inplace
    assert tiny.relu1 is tiny.relu2 is shared
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.modules())


def test_the_place_is_restored_when_the_network_fails(tiny, images):
    tiny.relu1.inplace = True
    evidence = Classifier(tiny).evidence(images(1, 16), None, ["relu2"])

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    tiny.head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        Saliency(tiny).explain(evidence, Classifier(tiny))
    assert tiny.relu1.inplace


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_a_network_in_half_precision_colours_are_summed_in_single(images, dtype):
    weights = torch.tensor([1.0, 2**-11, 2**-12]).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[0].weight = nn.Parameter(weights.clone())
    found = InputXGradient(network.to(dtype)).raw(torch.ones(1, 3, 4, 4, dtype=dtype), 1)
    assert torch.equal(found, torch.full((1, 4, 4), float(weights[0].sum()) / 16))
