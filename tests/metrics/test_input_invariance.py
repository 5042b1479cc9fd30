"""Input invariance of what must be invariant, and of what cannot be (Kindermans et al. 2019)."""

from collections import OrderedDict

import pytest
from torch import nn

from camfaith.methods import GradCAM, InputXGradient, Saliency
from camfaith.metrics import InputInvariance
from camfaith.models import Classifier


@pytest.mark.parametrize("told", [{}, {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.4, 0.3)}], ids=["plain", "normalised"])
def test_gradients_and_class_activation_maps_stay_and_gradient_times_input_does_not(told, tiny, images):
    """In single precision, whose rounding is no change."""
    classifier, pictures = Classifier(tiny.float(), **told), images(2, 9).float()
    kinds = GradCAM, Saliency, InputXGradient
    found = {}
    for kind in kinds:
        method = kind(classifier, "relu1") if kind is GradCAM else kind(classifier)
        raw = method.raw(pictures, [0, 2])
        found[kind] = InputInvariance(shift=0.7)(classifier, pictures, [0, 2], raw, method=method)["change"]
    for kind in (GradCAM, Saliency):
        assert found[kind].tolist() == [0, 0]
    assert found[InputXGradient].min() > 0.1


def test_a_map_of_the_images_brightness_changes_by_the_shift(tiny, images, brightness):
    pictures = images(2, 9)
    found = InputInvariance(shift=0.3)(tiny, pictures, 0, pictures.sum(1), method=brightness)["change"]
    expected = [0.3 * 3 * 9 / float(picture.sum(0).norm()) for picture in pictures]
    assert found.tolist() == pytest.approx(expected)


def test_a_network_that_the_first_convolution_cannot_make_the_same_has_no_value(tiny, images):
    class Squared(nn.Module):
        def forward(self, x):
            return x**2

    network = nn.Sequential(OrderedDict(squared=Squared(), rest=tiny))
    method, pictures = GradCAM(network, "rest.relu1"), images(2, 9)
    found = InputInvariance()(network, pictures, 0, method.raw(pictures, 0), method=method)["change"]
    assert found.isnan().all()
