"""The first CAM: the head's rows over the last activations, and only for such a head."""

import pytest
import torch
from torch import nn

from camfaith.methods import CAM
from camfaith.models.errors import NotApplicable


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer3"), ("fundus-effnet", "features")])
def test_cam_is_the_row_of_the_head_over_the_channels(reference, images, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    activations = classifier.evidence(pictures, [4, 1], [layer], gradients=False).activations[layer]
    weight = [module for module in classifier.network.modules() if isinstance(module, nn.Linear)][-1].weight.detach()
    expected = torch.zeros(2, 12, 12, dtype=torch.float64)
    for image, target in enumerate([4, 1]):
        for channel in range(activations.shape[1]):
            expected[image] += float(weight[target, channel]) * activations[image, channel]
    torch.testing.assert_close(CAM(classifier, layer).raw(pictures, [4, 1]), expected, rtol=1e-8, atol=1e-10)


def test_the_mean_of_cam_and_the_bias_are_the_logit(tiny, images):
    pictures = images(3, 17)
    cam = CAM(tiny, "relu2").raw(pictures, [0, 1, 2])
    with torch.no_grad():
        expected = tiny(pictures)[range(3), [0, 1, 2]] - tiny.head.bias
    torch.testing.assert_close(cam.mean((1, 2)), expected)


def test_a_fully_connected_head_has_no_cam(reference, images):
    with pytest.raises(NotApplicable, match=r"VGG.*use GradCAM"):
        CAM(reference("fundus-vgg"), "features").raw(images(1, 96))


def test_a_layer_that_the_head_does_not_pool_has_no_cam(tiny, images):
    with pytest.raises(NotApplicable, match="behind 'conv2'"):
        CAM(tiny, "conv2").raw(images(1, 16))
