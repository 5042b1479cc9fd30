"""The pointing games on maps whose hits, and whose share inside the mask, can be counted."""

import pytest
import torch

from camfaith.metrics import EnergyPointingGame, PointingGame

ROW = torch.zeros(4, 5, dtype=torch.bool)
ROW[0] = True
"""4×5 pixels, of which the first row's five are marked."""


@pytest.fixture
def play(tiny, images):
    def found(metric, maps, masks):
        return metric(tiny, images(len(maps), *masks.shape[1:]), 0, maps, masks=masks)

    return found


def drawn(**values):
    """A map of zeros but for the given places: `p03=2` is a 2 in row 0 and column 3."""
    plane = torch.zeros(4, 5)
    for place, value in values.items():
        plane[int(place[1]), int(place[2])] = value
    return plane


@pytest.mark.parametrize(
    ("plane", "mass"),
    [
        (drawn(p01=3, p33=1, p20=-7), 0.75),
        (torch.ones(4, 5), 0.25),
        (ROW.double(), 1),
        ((~ROW).double(), 0),
    ],
    ids=["by hand", "uniform", "inside", "outside"],
)
def test_the_mass_is_the_share_of_positive_values_inside_the_mask(plane, mass, play):
    found = play(EnergyPointingGame(), plane[None], ROW[None])
    assert found["mass"].tolist() == [mass]
    assert found["excess"].tolist() == [mass - 0.25]


def test_a_map_on_its_own_grid_is_judged_at_the_size_of_the_images(play):
    """Bilinear rows from 1 to 0 by quarters: 1, 1, 7/8, 5/8 inside, 3/8, 1/8, 0, 0 outside."""
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[:, :4] = True
    found = play(EnergyPointingGame(), torch.tensor([[[1.0, 1], [0, 0]]]), masks)
    assert found["mass"].tolist() == pytest.approx([3.5 / 4])


@pytest.mark.parametrize(
    ("tolerance", "hits", "area"),
    [(0, [1, 0, 0], 2 / 20), (1, [1, 0, 0], 6 / 20), (1.5, [1, 1, 0], 8 / 20), (2.9, [1, 1, 1], 15 / 20)],
)
def test_the_highest_pixel_hits_within_the_tolerance(tolerance, hits, area, play):
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = True
    maps = torch.stack([drawn(p02=1), drawn(p13=1), drawn(p24=1)]) - 2  # on it, and √2 and √8 away
    found = play(PointingGame(tolerance=tolerance), maps, mask.expand(3, -1, -1))
    assert found["hit"].tolist() == hits
    assert found["excess"].tolist() == pytest.approx([hit - area for hit in hits])


def test_equal_highest_pixels_hit_as_often_as_one_of_them_would(play):
    found = play(PointingGame(tolerance=0), drawn(p00=2, p01=2, p02=2, p32=2)[None], ROW[None])
    assert found["hit"].tolist() == [0.75]


@pytest.mark.parametrize("metric", [EnergyPointingGame(), PointingGame()])
def test_without_evidence_or_anything_to_point_with_the_games_are_not_defined(metric, tiny, images, play):
    maps = torch.stack([torch.rand(4, 5), torch.zeros(4, 5), torch.full((4, 5), -1), drawn(p11=1)])
    masks = torch.stack([torch.zeros_like(ROW), ROW, ROW, ROW])
    for column in play(metric, maps, masks).values():
        assert column.isnan().tolist() == [True, True, True, False]
    for column in metric(tiny, images(4, 4, 5), 0, maps).values():
        assert column.isnan().tolist() == [True] * 4
