"""Equivariance where the map is known to move or turn with the image, or not to, and by its definition."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import FlipEquivariance, ShiftEquivariance
from camfaith.metrics.similarity import spearman, ssim, top_k
from camfaith.models.maps import rectify, upsample

ALIKE = {"spearman": spearman, "ssim": ssim, "top_k": top_k}


def shifted(picture, down, right):
    """The picture shifted, the pixels of its edges repeated."""
    _, height, width = picture.shape
    wide = pad(picture[None], [max(height, width)] * 4, mode="replicate")[0]
    top, left = (max(height, width) - move for move in (down, right))
    return wide[:, top : top + height, left : left + width]


def slow(alike, before, explain, picture, down, right):
    """The mean likeness over four diagonals, pixel by pixel of the common area."""
    height, width = before.shape
    found = []
    for d in (down, -down):
        for r in (right, -right):
            after = explain(shifted(picture, d, r))
            rows, columns = (range(max(0, -m), side - max(0, m)) for m, side in ((d, height), (r, width)))
            here = torch.stack([torch.stack([before[i, j] for j in columns]) for i in rows])
            there = torch.stack([torch.stack([after[i + d, j + r] for j in columns]) for i in rows])
            found.append(float(alike(here[None], there[None])))
    return sum(found) / 4


def test_a_map_of_single_pixels_moves_with_the_image_exactly(tiny, images, brightness):
    pictures = images(2, 20, 33)
    for value in ShiftEquivariance(shift=0.1)(tiny, pictures, 0, pictures.sum(1), method=brightness).values():
        assert value.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(("shift", "down", "right"), [(0.001, 1, 1), (0.08, 2, 3)])
def test_a_map_that_ignores_the_image_is_compared_with_itself_beside_its_place(
    shift, down, right, tiny, images, showing
):
    (fixed,) = images(1, 20, 33, seed=4).sum(1)
    method = showing(lambda images: fixed.expand(len(images), -1, -1))
    found = ShiftEquivariance(shift=shift)(tiny, images(1, 20, 33), 0, fixed[None], method=method)
    for column, alike in ALIKE.items():
        expected = slow(alike, fixed, lambda picture: fixed, images(1, 20, 33)[0], down, right)
        assert found[column].item() == pytest.approx(expected)
        assert expected < 0.2


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
def test_the_maps_are_those_of_the_method_after_its_relu_for_the_class_that_was_explained(kind, tiny, images):
    pictures, targets, method = images(3, 18, 15), [0, 2, 1], kind(tiny, "relu2")
    raw = method.raw(pictures, targets)
    assert bool((raw < 0).any()), "else the ReLU would do nothing"
    found = ShiftEquivariance(shift=0.12)(tiny, pictures, targets, raw, method=method)

    def explain(picture, target):
        made = method.raw(picture[None], target)
        return upsample(rectify(made) if method.rectified else made, (18, 15))[0]

    for place, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        before = explain(picture, target)
        for column, alike in ALIKE.items():
            expected = slow(alike, before, lambda moved, t=target: explain(moved, t), picture, 2, 2)
            assert found[column][place].item() == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert found["spearman"].isfinite().any()


def test_a_constant_map_has_no_value_and_a_small_image_no_ssim(tiny, images, brightness):
    maps = torch.stack([torch.ones(11, 14), torch.rand(11, 14)])
    found = ShiftEquivariance()(tiny, images(2, 11, 14), 0, maps, method=brightness)
    assert found["spearman"].isnan().tolist() == found["top_k"].isnan().tolist() == [True, False]
    assert found["ssim"].isnan().tolist() == [True, True]  # 10×13 pixels in common


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
def test_the_map_of_the_mirrored_image_is_compared_mirrored_back(kind, tiny, images):
    pictures, method = images(2, 18, 15), kind(tiny, "relu2")
    shown = [
        upsample(rectify(raw) if method.rectified else raw, (18, 15))
        for raw in (method.raw(pictures, [0, 2]), method.raw(pictures.flip(3), [0, 2]))
    ]
    found = FlipEquivariance()(tiny, pictures, [0, 2], method.raw(pictures, [0, 2]), method=method)
    for column, alike in ALIKE.items():
        torch.testing.assert_close(found[column], alike(shown[0], shown[1].flip(2)), equal_nan=True)
    mirrored = tiny(pictures.flip(3)).softmax(1)[[0, 1], [0, 2]]
    torch.testing.assert_close(found["probability"], mirrored.detach())


def test_a_map_of_single_pixels_turns_with_the_image_exactly(tiny, images, brightness):
    pictures = images(2, 20, 33)
    found = FlipEquivariance()(tiny, pictures, 0, pictures.sum(1), method=brightness)
    assert [found[column].tolist() for column in ALIKE] == [pytest.approx([1, 1])] * 3
