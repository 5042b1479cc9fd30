"""Occlusion of a linear model, by hand."""

import pytest
import torch
from torch import Tensor

from camfaith.methods import Occlusion


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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": 0}, "window must be a whole number, 1 or more; got 0"),
        ({"window": 2.5}, "window must be a whole number, 1 or more; got 2.5"),
        ({"stride": 0}, "stride must be a whole number, 1 or more; got 0"),
        ({"stride": -1}, "stride must be a whole number, 1 or more; got -1"),
        ({"window": 10}, "window must be 9 or less in an image of 9×11 pixels; got 10"),
        ({"window": 3, "stride": 4}, "stride must be 3 or less, as the window is, .*; got 4"),
    ],
    ids=str,
)
def test_a_window_that_does_not_fit_or_leaves_pixels_out_is_refused(linear_model, images, options, text):
    with pytest.raises(ValueError, match=text):
        Occlusion(linear_model(9, 11), **options).raw(images(1, 9, 11), 1)
    with pytest.raises(ValueError, match=text):
        Occlusion(linear_model(9, 11), **options).cost(images(1, 9, 11))


def test_a_window_as_large_as_the_image_is_one_difference_and_a_small_one_leaves_no_pixel_out(linear_model, images):
    model, picture = linear_model(9, 9), images(1, 9)
    whole = float((model.weight[1] * picture[0]).sum().detach())
    torch.testing.assert_close(Occlusion(model, window=9).raw(picture, 1), torch.full((1, 9, 9), whole).double())
    model, picture = linear_model(48, 48), images(1, 48)
    expected = slow_occlusion(model.weight[1].detach(), picture[0], 2, 2)[None]  # 48 / 12 would leave pixels out
    torch.testing.assert_close(Occlusion(model, window=2).raw(picture, 1), expected, rtol=1e-4, atol=1e-4)
