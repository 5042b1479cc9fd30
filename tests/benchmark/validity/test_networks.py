"""The networks' truth is true: maps add up to the logits, and a cell that is taken away costs what the map says."""

from __future__ import annotations

import pytest
import torch

from camfaith.benchmark.validity.networks import NETWORKS


@pytest.fixture(params=NETWORKS)
def known(request):
    return NETWORKS[request.param]()


def logit(known, images):
    with torch.no_grad():
        return known.network(images).gather(1, known.targets[:, None])[:, 0]


def test_the_true_map_adds_up_to_the_logit_which_speaks_for_the_class(known):
    torch.testing.assert_close(known.truth.sum((1, 2)), logit(known, known.images))
    assert (known.truth.sum((1, 2)) > 0).all()
    assert not logit(known, torch.zeros_like(known.images)).any()
    assert known.truth.abs().sum((1, 2)).mean() == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_a_cell_that_is_taken_away_costs_what_the_true_map_says(known, baseline):
    if known.name == "mosaic":
        pytest.skip("a hole in a texture has edges of its own")
    truth, cell = known.truth, known.images.shape[-1] // known.truth.shape[-1]
    for row, column in [(0, 1), (2, 2), (5, 6)]:
        without = known.images.clone()
        without[..., row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = baseline
        gone = logit(known, known.images) - logit(known, without)
        torch.testing.assert_close(gone, truth[:, row, column], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "rows", "columns"), [("region", (3, 10), (4, 11)), ("corner", (0, 4), (0, 4))])
def test_what_is_outside_the_window_is_not_read_though_a_person_would_mark_it(name, rows, columns):
    known = NETWORKS[name]()
    inside = torch.zeros(known.images.shape[-2:], dtype=torch.bool)
    inside[4 * rows[0] : 4 * rows[1], 4 * columns[0] : 4 * columns[1]] = True
    torch.testing.assert_close(logit(known, known.images * inside), logit(known, known.images))
    assert (known.masks & ~inside).any((1, 2)).all()


def test_mosaics_texture_is_read_whatever_its_colour():
    known = NETWORKS["mosaic"]()
    torch.testing.assert_close(logit(known, known.images + 0.1), logit(known, known.images))
    own = torch.nn.functional.avg_pool2d(known.masks.float(), 8) > 0
    assert (known.truth > 0).eq(own).double().mean() > 0.9  # but for cells between two of the other texture
