"""What must hold between the CAMs, and between a CAM and the logit, whatever the weights."""

import copy

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import CAM, GradCAM, GradCAMPlusPlus, HiResCAM, XGradCAM
from camfaith.models import Classifier

ALL_LAYERS = [
    ("fundus-resnet", "layer1"),
    ("fundus-resnet", "layer3"),
    ("fundus-vgg", "features.4"),
    ("fundus-vgg", "features"),
    ("fundus-effnet", "features.2"),
    ("fundus-effnet", "features"),
]
POOLED = [("fundus-resnet", "layer3"), ("fundus-effnet", "features")]


def close(found: Tensor, expected: Tensor, relative: float = 1e-8) -> None:
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "layer"), POOLED)
@pytest.mark.parametrize("weights", ["random", "shipped"])
def test_before_a_pooled_linear_head_three_cams_are_cam_over_its_cells(reference, images, name, layer, weights):
    classifier, pictures, targets = reference(name, weights), images(3, 96), [0, 2, 4]
    cam = CAM(classifier, layer).raw(pictures, targets)
    for method in (GradCAM(classifier, layer), XGradCAM(classifier, layer, eps=0), HiResCAM(classifier, layer)):
        close(method.raw(pictures, targets) * cam[0].numel(), cam)


@pytest.mark.parametrize(("name", "layer"), ALL_LAYERS)
def test_xgradcam_and_hirescam_sum_to_gradient_times_activation(reference, images, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    evidence = classifier.evidence(pictures, [1, 2], [layer])
    product = (evidence.activations[layer] * evidence.gradients[layer]).sum((1, 2, 3))
    close(XGradCAM(classifier, layer, eps=0).raw(pictures, [1, 2]).sum((1, 2)), product)
    close(HiResCAM(classifier, layer).raw(pictures, [1, 2]).sum((1, 2)), product)


@pytest.mark.parametrize("name", ["fundus-resnet", "fundus-vgg"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_the_map_leaves_out_of_the_logit_is_the_later_biases(reference, images, name, depth):
    classifier, pictures, target = reference(name), images(1, 96), 2
    layer = {"fundus-resnet": ["stem", "layer1", "layer2"], "fundus-vgg": ["features.1", "features.4", "features.10"]}
    layer = layer[name][depth]
    network = copy.deepcopy(classifier.network).requires_grad_()
    modules = list(network.named_modules())
    last_inside = max(i for i, (n, _) in enumerate(modules) if n == layer or n.startswith(layer + "."))
    score = Classifier(network, mean=classifier.mean, std=classifier.std).eval()(pictures)[0, target]
    share = torch.zeros((), dtype=torch.float64)
    for _, module in modules[last_inside + 1 :]:
        if getattr(module, "bias", None) is None:
            continue
        (gradient,) = torch.autograd.grad(score, module.bias, retain_graph=True)
        bias = module.bias
        if isinstance(module, nn.BatchNorm2d):
            deviation = (module.running_var + module.eps).sqrt()
            bias = module.bias - module.weight * module.running_mean / deviation
        share = share + (gradient * bias).sum()
    assert abs(share) > 1e-3
    close(score.detach() - HiResCAM(classifier, layer).raw(pictures, target).sum(), share.detach())


class Scaled(nn.Module):
    """s times the logits."""

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.network(x)


@pytest.mark.parametrize("scale", [0.01, 7.0, 100.0])
def test_scaled_logits_change_the_weights_of_gradcam_plus_plus_by_its_own_law(reference, images, scale):
    """α = 1/(2 + ΣA·g), so w(s) = Σ s·ReLU(g)/(2 + s·ΣA·g): proportional to s only where s·ΣA·g is far below 2."""
    network, layer, pictures = reference("fundus-vgg").network, "features.4", images(2, 96)
    evidence = Classifier(network).evidence(pictures, [0, 1], [layer])
    a, g = evidence.activations[layer], evidence.gradients[layer]
    below = 2 + scale * a.sum((2, 3), keepdim=True) * g
    weights = (scale * g.clamp(min=0) / below).sum((2, 3), keepdim=True)
    found = GradCAMPlusPlus(Scaled(network, scale), f"network.{layer}").raw(pictures, [0, 1])
    close(found, (weights * a).sum(1))
