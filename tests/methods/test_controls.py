"""The controls know the image's seed, edges, centre or mask, and nothing of the network."""

import math

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import CenterGaussian, Constant, Oracle, Random, RandomPixels, Sobel
from camfaith.models import Evidence
from camfaith.models.errors import NotApplicable


def evidence(images: Tensor, seeds: Tensor | None = None, masks: Tensor | None = None) -> Evidence:
    count = len(images)
    seeds = torch.zeros(count, dtype=torch.long) if seeds is None else seeds
    return Evidence(images, torch.zeros(count, dtype=torch.long), torch.zeros(count, 2), seeds=seeds, masks=masks)


def explain(method: type, found: Evidence, **options: object) -> Tensor:
    bound = method(nn.Identity(), **options)
    assert bound.control
    return bound.explain(found, bound.classifier)


@pytest.mark.parametrize(("method", "shape"), [(Random, (7, 7)), (RandomPixels, (8, 12))])
def test_random_maps_depend_on_the_seed_of_the_image_alone(images, method, shape):
    many = explain(method, evidence(images(3, 8, 12), torch.tensor([5, 6, 5])))
    one = explain(method, evidence(1 - images(1, 8, 12), torch.tensor([6])))
    assert torch.equal(many[0], many[2])
    assert torch.equal(many[1:2], one)
    assert not torch.equal(many[0], many[1])
    assert many.shape == (3, *shape)
    assert explain(Random, evidence(images(2, 8)), grid=3).shape == (2, 3, 3)
    assert 0 <= float(many.min()) < float(many.max()) < 1
    assert len(many[0].unique()) == many[0].numel()


def test_sobel_of_a_step_is_four_steps_on_both_sides_of_it():
    step = torch.zeros(1, 3, 5, 6, dtype=torch.float64)
    step[..., 3:] = 0.5
    expected = torch.zeros(1, 5, 6, dtype=torch.float64)
    expected[..., 2:4] = 4 * 0.5
    torch.testing.assert_close(explain(Sobel, evidence(step)), expected)
    turned = explain(Sobel, evidence(step.transpose(2, 3)))
    torch.testing.assert_close(turned, expected.transpose(1, 2))


def test_sobel_of_one_bright_pixel_by_hand():
    dot = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    dot[..., 2, 2] = 1
    root = math.sqrt(2)
    ring = torch.tensor([[root, 2, root], [2, 0, 2], [root, 2, root]], dtype=torch.float64)
    torch.testing.assert_close(explain(Sobel, evidence(dot))[0, 1:4, 1:4], ring)


def test_sobel_sees_no_edge_at_the_border_of_a_plain_image():
    assert (explain(Sobel, evidence(torch.full((1, 3, 4, 4), 0.7))) == 0).all()


def test_center_gaussian_is_one_at_the_centre_and_symmetric(images):
    found = explain(CenterGaussian, evidence(images(2, 9, 15)), sigma=0.25)
    assert found.shape == (2, 9, 15)
    assert float(found[0, 4, 7]) == 1.0
    torch.testing.assert_close(found, found.flip(1))
    torch.testing.assert_close(found, found.flip(2))
    assert torch.equal(found[0], found[1])


def test_center_gaussian_at_a_corner_is_the_formula(images):
    found = explain(CenterGaussian, evidence(images(1, 4, 8)), sigma=0.3)
    across, down = 0.5 / 8 - 0.5, 0.5 / 4 - 0.5
    assert float(found[0, 0, 0]) == pytest.approx(math.exp(-(across**2 + down**2) / (2 * 0.3**2)), rel=1e-12)


def test_constant_is_one(images):
    assert torch.equal(explain(Constant, evidence(images(2, 4, 5))), torch.ones(2, 4, 5, dtype=torch.float64))


def test_the_oracle_is_the_mask(images):
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 1, 2] = masks[1, 3] = True
    assert torch.equal(explain(Oracle, evidence(images(2, 4), masks=masks)), masks.double())


@pytest.mark.parametrize("masks", [None, torch.tensor([[[True]], [[False]]]).expand(2, 4, 4)])
def test_an_oracle_needs_a_mask_that_is_not_empty_for_every_image(images, masks):
    with pytest.raises(NotApplicable, match="mask that is not empty"):
        explain(Oracle, evidence(images(2, 4), masks=masks))


@pytest.mark.parametrize("method", [Random, Constant, CenterGaussian, Sobel, Oracle])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_gets_the_maps_of_one_in_single(method, dtype, images):
    half, masks = images(2, 9).to(dtype), torch.eye(9, dtype=torch.bool).expand(2, -1, -1)
    found, expected = (explain(method, evidence(pixels, masks=masks)) for pixels in (half, half.float()))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
