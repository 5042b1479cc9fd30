"""The pointing games on maps whose hits, and whose share inside the mask, can be counted."""

import pytest
import torch

from camfaith.metrics import EnergyPointingGame, PointingGame


@pytest.fixture
def mask():
    """4×5 pixels, of which the first row's five are marked."""
    plane = torch.zeros(4, 5, dtype=torch.bool)
    plane[0] = True
    return plane


def play(model, maps, masks, images):
    return EnergyPointingGame()(model, images(len(maps), *maps.shape[1:]), 0, maps, masks=masks)


def test_the_mass_is_the_share_of_positive_values_inside_the_mask(classifier, images, mask):
    maps = torch.zeros(1, 4, 5)
    maps[0, 0, 1], maps[0, 3, 3], maps[0, 2, 0] = 3, 1, -7
    found = play(classifier, maps, mask[None], images)
    assert found["mass"].tolist() == [0.75]
    assert found["excess"].tolist() == [0.5]


def test_a_uniform_map_gets_the_area_of_the_mask(classifier, images, mask):
    found = play(classifier, torch.ones(1, 4, 5), mask[None], images)
    assert found["mass"].tolist() == [0.25]
    assert found["excess"].tolist() == [0]


def test_a_map_inside_the_mask_gets_one_and_one_outside_zero(classifier, images, mask):
    maps = torch.stack([mask, ~mask]).double()
    assert play(classifier, maps, mask.expand(2, -1, -1), images)["mass"].tolist() == [1, 0]


def test_a_map_on_its_own_grid_is_judged_at_the_size_of_the_images(classifier, images):
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[:, :4] = True
    halves = torch.tensor([[[1.0, 1], [0, 0]]])
    found = EnergyPointingGame()(classifier, images(1, 8), 0, halves, masks=masks)
    # Bilinear rows from 1 to 0 by quarters: 1, 1, 7/8, 5/8 inside, 3/8, 1/8, 0, 0 outside.
    assert found["mass"].tolist() == pytest.approx([3.5 / 4])


def test_without_evidence_or_mass_the_game_is_not_defined(classifier, images, mask):
    maps = torch.stack([torch.ones(4, 5), torch.zeros(4, 5), -torch.ones(4, 5), torch.ones(4, 5)])
    masks = torch.stack([torch.zeros_like(mask), mask, mask, mask])
    for column in play(classifier, maps, masks, images).values():
        assert column.isnan().tolist() == [True, True, True, False]
    for column in play(classifier, maps, None, images).values():
        assert column.isnan().all()
        assert column.shape == (4,)


def test_the_other_images_of_a_batch_do_not_matter(classifier, images, noise_maps, mask):
    maps, masks = noise_maps(3, 4, 5), torch.stack([mask, ~mask, mask.roll(1, 0)])
    together = play(classifier, maps, masks, images)
    for i in range(3):
        alone = play(classifier, maps[i : i + 1], masks[i : i + 1], images)
        assert alone["mass"] == together["mass"][i]
        assert alone["excess"] == together["excess"][i]


def test_the_game_asks_the_model_for_nothing(tiny, images, watched, mask):
    assert EnergyPointingGame().probes("conv1", 20) == ()
    seen = watched(tiny)
    play(tiny, torch.ones(3, 4, 5), mask.expand(3, -1, -1), images)
    assert [len(batch) for batch in seen] == [3]  # the images as they are


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 4, 5), (4, 5)])
def test_masks_of_another_shape_are_refused(shape, classifier, images):
    with pytest.raises(ValueError, match="masks: expected B×H×W"):
        EnergyPointingGame()(classifier, images(1, 4, 5), 0, torch.ones(1, 4, 5), masks=torch.ones(shape).bool())


def point(model, maps, masks, images, **settings):
    return PointingGame(**settings)(model, images(len(maps), *maps.shape[1:]), 0, maps, masks=masks)


@pytest.mark.parametrize(
    ("tolerance", "hits", "area"),
    [(0, [1, 0, 0], 2 / 20), (1, [1, 0, 0], 6 / 20), (1.5, [1, 1, 0], 8 / 20), (2.9, [1, 1, 1], 15 / 20)],
)
def test_the_highest_pixel_hits_within_the_tolerance(tolerance, hits, area, classifier, images):
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = True
    maps = torch.full((3, 4, 5), -2.0)
    maps[0, 0, 2] = maps[1, 1, 3] = maps[2, 2, 4] = -1  # on it, and √2 and √8 away
    found = point(classifier, maps, mask.expand(3, -1, -1), images, tolerance=tolerance)
    assert found["hit"].tolist() == hits
    assert found["excess"].tolist() == pytest.approx([hit - area for hit in hits])


def test_equal_highest_pixels_hit_as_often_as_one_of_them_would(classifier, images, mask):
    maps = torch.zeros(1, 4, 5)
    maps[0, 0, :3] = maps[0, 3, 2] = 2
    assert point(classifier, maps, mask[None], images, tolerance=0)["hit"].tolist() == [0.75]


def test_a_pixel_at_random_has_no_excess(classifier, images, mask):
    maps = torch.eye(20).view(20, 4, 5)
    found = point(classifier, maps, mask.expand(20, -1, -1), images, tolerance=1)
    assert found["hit"].mean().item() == pytest.approx(10 / 20)
    assert found["excess"].mean().item() == pytest.approx(0)


def test_an_empty_mask_and_a_constant_map_are_no_hits(classifier, images, mask):
    maps = torch.stack([torch.rand(4, 5), torch.ones(4, 5), torch.zeros(4, 5), torch.rand(4, 5)])
    masks = torch.stack([torch.zeros_like(mask), mask, mask, mask])
    for column in point(classifier, maps, masks, images).values():
        assert column.isnan().tolist() == [True, True, True, False]
    assert point(classifier, maps, None, images)["hit"].isnan().all()
