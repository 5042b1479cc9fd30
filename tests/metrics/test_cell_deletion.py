"""Cell deletion in closed form, cell by cell from its definition, and which maps share their questions."""

from itertools import chain

import pytest
import torch

from camfaith.metrics import Case, CellDeletion, Deletion, Engine, Maps


def slow_cells(values, size, seed):
    """The pixels of each cell of a map (h×w), the most relevant cell first; equal cells in the order of the lottery."""
    (h, w), (height, width) = values.shape, size
    lots = torch.randperm(h * w, generator=torch.Generator().manual_seed(seed)).tolist()
    order = sorted(range(h * w), key=lambda cell: (-float(values.flatten()[cell]), lots.index(cell)))
    pixels = [(i, j) for i in range(height) for j in range(width)]
    return [[i * width + j for i, j in pixels if (i * h // height, j * w // width) == divmod(c, w)] for c in order]


def test_a_linear_model_is_known_in_closed_form(climbing, pixel_sum):
    """Four quarters are worth 4, 3, 2 and 1: what is left is 10, 6, 3, 1, 0, with an area of 15/4. Where the map has a
    cell for each pixel, this is `Deletion`."""
    worth = torch.tensor([[4.0, 3.0], [2.0, 1.0]], dtype=torch.float64)
    model = pixel_sum(worth.repeat_interleave(2, 0).repeat_interleave(2, 1) / 6)
    found = CellDeletion(score="logit")(model, torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64), 1, worth[None])
    assert [float(found[name]) for name in ("auc", "auc_relative", "ties")] == pytest.approx([15 / 4, 15 / 40, 0])
    model, image, worth = climbing
    cells, pixels = (metric(model, image, 1, worth) for metric in (CellDeletion(), Deletion(steps=12)))
    assert {name: float(value) for name, value in cells.items()} == pytest.approx(
        {name: float(value) for name, value in pixels.items()}, nan_ok=True
    )


@pytest.mark.parametrize(
    ("grid", "size", "cells", "gone"),
    [
        ((3, 4), (7, 10), 64, [*range(13)]),
        ((3, 4), (6, 8), 5, [0, 3, 6, 9, 12]),  # as few as make no more than five steps
        ((3, 3), (5, 5), 4, [0, 3, 6, 9]),
        ((2, 5), (4, 5), 4, [0, 3, 6, 9, 10]),
        ((1, 1), (4, 4), 64, [0, 1]),
    ],
)
@pytest.mark.parametrize("rectified", [True, False])
def test_every_point_is_one_forward_with_whole_cells_at_the_baseline(
    grid, size, cells, gone, rectified, classifier, images, noise_maps, slow_points, worked_out
):
    pictures, maps, seeds = images(3, *size), noise_maps(3, *grid, levels=3), torch.tensor([4, 5, 6])
    metric = CellDeletion(cells=cells, baseline="mean")
    line, found = worked_out(metric, classifier, pictures, [0, 1, 2], maps, seeds=seeds, rectified=rectified)
    blanks, total = metric.baseline(pictures, seeds), grid[0] * grid[1]
    assert line.x.tolist() == pytest.approx([count / total for count in gone])
    for i in range(3):
        meant = maps[i].clamp(min=0) if rectified else maps[i]
        leaving = slow_cells(meant, size, int(seeds[i]))
        counts = [sum(map(len, leaving[:count])) for count in gone]
        expected = slow_points(classifier, pictures[i], blanks[i], i, [*chain(*leaving)], counts, "probability")
        assert line.y[i].tolist() == pytest.approx(expected, abs=1e-8)
        values = meant.flatten().tolist()
        assert float(found["ties"][i]) == sum(values.count(value) > 1 for value in values) / total


def test_a_map_finer_than_the_image_is_brought_to_its_size(classifier, images, noise_maps):
    pictures, maps = images(2, 6), noise_maps(2, 6, 6).repeat_interleave(2, 1)
    finer, same = (CellDeletion()(classifier, pictures, 1, each) for each in (maps, Maps(maps, _case(pictures)).signed))
    assert torch.equal(finer["auc"], same["auc"])


def _case(pictures):
    return Case(pictures, torch.zeros(len(pictures)).long(), torch.zeros(len(pictures), 2), torch.zeros(2).long())


def test_maps_with_equal_cells_ask_once_and_those_of_another_grid_do_not(classifier, images, noise_maps):
    case, probes = Case.of(classifier, images(2, 8), 0), CellDeletion().probes(None, 64)
    maps = noise_maps(2, 2, 8)
    named = {"it": maps, "cubed": maps**3, "finer": maps.repeat_interleave(2, 1), "other": maps.view(2, 4, 4)}
    engine = Engine(classifier)
    answers = engine.answer(case, {name: (Maps(each, case), probes) for name, each in named.items()})
    assert engine.meter.forwards == 2 * (15 + 31 + 15 + 1)
    alone = Engine(classifier).answer(case, {name: (Maps(named[name], case), probes) for name in ("other", "cubed")})
    assert all(torch.equal(alone[name][probes[0]].logit, answers[name][probes[0]].logit) for name in alone)
