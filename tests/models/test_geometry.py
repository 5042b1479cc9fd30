"""A picture comes to the network's size as torchvision's transforms bring it, and its mask with it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CenterCrop, Compose, Pad, Resize, ToDtype, ToImage

from camfaith.models import Classifier

SIZES = [(30, 41), (41, 30), (33, 33), (7, 12)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", [None, 16, (20, 9), (9, 40)])
@pytest.mark.parametrize("resize", [None, 18, (24, 16)])
def test_a_picture_is_resized_and_cropped_as_by_torchvision(size, resize, crop):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for mode in ("bilinear", "bicubic", "nearest", "lanczos"):
        steps = [] if resize is None else [Resize(resize, InterpolationMode(mode))]
        steps += [] if crop is None else [CenterCrop(crop)]
        expected = Compose([*steps, ToImage(), ToDtype(torch.float32, scale=True)])(Image.fromarray(pixels))
        for interpolation in (mode, InterpolationMode(mode), Image.Resampling[mode.upper()]):
            model = Classifier(nn.Identity(), resize=resize, crop=crop, interpolation=interpolation)
            assert torch.equal(model.prepare(Image.fromarray(pixels)), expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_padded_to_a_square_before_it_is_resized_and_its_mask_as_well(size):
    side, (height, width) = max(size), size
    top, left = (side - height) // 2, (side - width) // 2
    padded = Pad((left, top, side - width - left, side - height - top))
    pixels = np.random.default_rng(0).integers(0, 2, size, dtype=np.uint8) * 255
    model = Classifier(nn.Identity(), pad=True, resize=20)
    plain = Classifier(nn.Identity(), resize=20)
    assert torch.equal(model.prepare(Image.fromarray(pixels)), plain.prepare(padded(Image.fromarray(pixels))))
    assert torch.equal(model.prepare_mask(Image.fromarray(pixels)), plain.prepare_mask(padded(Image.fromarray(pixels))))


def test_fine_levels_stay_fine():
    noise = np.random.default_rng(0).random((20, 20)).round().astype(np.float32)
    image = Classifier(nn.Identity(), resize=(50, 49), interpolation="bicubic").prepare(Image.fromarray(noise))
    assert image.shape == (3, 50, 49)
    assert len(image.unique()) > 1000
    assert (float(image.min()), float(image.max())) == (0, 1), "what bicubic interpolation carries further is cut"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 0}, "resize must be whole pixels, a side or .height, width.; got 0"),
        ({"resize": 4.5}, "resize must be whole pixels.*got 4.5"),
        ({"resize": (224,)}, "resize must be whole pixels"),
        ({"crop": (2, 3, 4)}, "crop must be whole pixels"),
        ({"crop": "224"}, "crop must be whole pixels"),
        ({"resize": (8, 100_000)}, "resize must be at most 16384 pixels a side"),
        ({"resize": True}, "resize must be whole pixels"),
        ({"interpolation": "bicubik"}, "unknown interpolation 'bicubik': did you mean 'bicubic'"),
    ],
)
def test_a_geometry_that_means_nothing_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Classifier(nn.Identity(), **settings)
