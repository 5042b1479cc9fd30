"""Maps that padding makes, and maps of what is on a canvas."""

import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torchvision.transforms.functional import resize

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import CanvasLeakage, PaddingSwap

SIDE = 12


def test_what_padding_made_is_moved_when_it_is_mirrored_instead():
    """ReLU(10 − Σ of a constant 3×3 neighbourhood) is 1 inside, 4 along the border and 6 in the corners, then 1."""
    convolution = nn.Conv2d(1, 2, 3, padding=1)
    nn.init.constant_(convolution.weight, -1.0)
    nn.init.constant_(convolution.bias, 10.0)
    network = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    pictures, method = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64), GradCAM(network, "1")
    found = PaddingSwap()(network, pictures, 0, method.raw(pictures, 0), method=method)
    total = 4 * 6 + 40 * 4 + 100
    assert found["delta"].tolist() == pytest.approx([100 * (1 / 144 - 1 / total)])
    assert found["spearman"].isnan().all()


@pytest.mark.parametrize("border", ["reflect", "replicate"])
@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
def test_it_compares_the_maps_of_two_networks_that_pad_otherwise(kind, border, tiny, images):
    pictures, targets, other = images(3, 14), [0, 2, 1], copy.deepcopy(tiny)
    other.conv1.padding_mode = border
    before, after = (kind(network, "relu1").raw(pictures, targets) for network in (tiny, other))
    found = PaddingSwap(border=border)(tiny, pictures, targets, before, method=kind(tiny, "relu1"))
    with torch.no_grad():
        probabilities = other(pictures).softmax(1)
    for place, (a, b) in enumerate(zip(before, after, strict=True)):
        if kind.rectified:
            a, b = a.clamp(min=0), b.clamp(min=0)
        moved = sum(
            abs(float(x / a.abs().sum() - y / b.abs().sum())) for x, y in zip(a.ravel(), b.ravel(), strict=True)
        )
        rho = spearmanr(a.flatten(), b.flatten()).statistic
        got = [float(found[name][place]) for name in ("delta", "spearman", "probability")]
        assert got == pytest.approx([moved / 2, rho, float(probabilities[place, targets[place]])], nan_ok=True)
    assert 0.001 < found["delta"].nanmean() < 0.9


@pytest.mark.parametrize(
    ("value", "baseline", "mass"),
    [(1.0, "black", 0), (0.5, "mean", 108 / 144), (0.25, torch.ones(3, SIDE, SIDE), 108 / (108 + 36 / 4))],
)
def test_the_mass_on_the_canvas_is_what_the_map_shows_there(value, baseline, mass, tiny, brightness):
    pictures = torch.full((2, 3, SIDE, SIDE), value, dtype=torch.float64)
    found = CanvasLeakage(width=0.25, baseline=baseline)(tiny, pictures, 0, torch.ones(2, 3, 3), method=brightness)
    assert found["mass"].tolist() == pytest.approx([mass] * 2)
    assert found["excess"].tolist() == pytest.approx([mass - 108 / 144] * 2)


def test_the_picture_is_made_smaller_as_torchvision_does_and_explained_for_its_class(tiny, images):
    pictures, targets = images(2, 18, 25), [2, 0]
    method = GradCAM(tiny, "relu2")
    found = CanvasLeakage(width=0.1)(tiny, pictures, targets, method.raw(pictures, targets), method=method)
    for place, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        shown = picture.mean((1, 2), keepdim=True).expand_as(picture).clone()
        shown[:, 2:-2, 2:-2] = resize(picture, [14, 21], antialias=True)
        raw = method.raw(shown[None], target).clamp(min=0)
        grown = nn.functional.interpolate(raw[None], (18, 25), mode="bilinear")[0, 0]
        mass = 1 - float(grown[2:-2, 2:-2].sum() / grown.sum())
        with torch.no_grad():
            probability = float(tiny(shown[None]).softmax(1)[0, target])
        expected = {"mass": mass, "excess": mass - 1 + 14 * 21 / (18 * 25), "probability": probability}
        assert {name: float(value[place]) for name, value in found.items()} == pytest.approx(expected)
