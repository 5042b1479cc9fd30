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
