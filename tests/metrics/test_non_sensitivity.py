"""Non-sensitivity on a network that uses some pixels alone, and by sets."""

import pytest
import torch

from camfaith.metrics import Case, Engine, Maps, NonSensitivity
from camfaith.metrics.judgement import judged
from camfaith.models import Classifier


def test_it_counts_what_either_the_map_or_the_network_calls_irrelevant(pixel_sum, images, noise_maps):
    """Four cells of 2×2 pixels in each corner of a 4×4 image, one after the other, by sets of their numbers."""
    weight, maps = noise_maps(1, 4, 4)[0], noise_maps(3, 4, 4, seed=4)
    weight[:2, :2] = weight[2:, 2:] = 0
    maps[0, :2] = maps[1, 2:, :2] = maps[2] = 0
    cells = [(slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)) for row in (0, 1) for column in (0, 1)]
    pictures, unused = images(3, 4), {number for number, cell in enumerate(cells) if not weight[cell].any()}
    found = NonSensitivity(features={"name": "cells", "grid": 2})(pixel_sum(weight), pictures, 1, maps)
    for place, each in enumerate(maps):
        zero = {number for number, cell in enumerate(cells) if not each[cell].any()}
        assert found["disagree"][place].item() == len(zero ^ unused) / 4
        assert found["ignored"][place].item() == len(zero - unused) / 4
        assert found["invented"][place].item() == len(unused - zero) / 4
    assert found["disagree"].tolist() == [0.5, 0.75, 0.5]


@pytest.mark.parametrize(("tolerance", "disagree"), [(0.05, 0.25), (0.15, 0.5)])
def test_what_is_small_beside_the_greatest_counts_as_zero(tolerance, disagree, pixel_sum):
    weight, maps = torch.tensor([[10, 0.4], [10, 10]]), torch.tensor([[[10, 10], [1, 9.0]]])
    metric = NonSensitivity(features="pixels", tolerance=tolerance)
    found = metric(pixel_sum(weight), torch.full((1, 3, 2, 2), 0.5), 1, maps)
    assert found["disagree"].item() == disagree


def test_the_map_is_that_after_its_relu(pixel_sum, images):
    case = Case.of(classifier := Classifier(pixel_sum(torch.tensor([[1.0, 0]]))), images(1, 1, 2), 1)
    metric, columns = NonSensitivity(features="pixels", subsets=3), {}
    for rectified in (False, True):
        maps = Maps(torch.tensor([[[2.0, -1]]]), case, rectified=rectified)
        answers = Engine(classifier).answer(case, {"it": (maps, metric.probes(None, 2))})["it"]
        columns[rectified] = judged(metric, case, maps, answers)[0]["disagree"].item()
    assert columns == {False: 0.5, True: 0.0}
