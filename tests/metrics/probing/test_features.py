"""What images are made of: cells of equal size, superpixels and pixels, by name and as they are cut."""

import pytest
import torch

from camfaith.metrics import Cells, Pixels, SensitivityN, Superpixels
from camfaith.metrics.probing.features import features, worths


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("cells", Cells(7)),
        ({"name": "cells", "grid": 14}, Cells(14)),
        ({"name": "superpixels", "segments": 20}, Superpixels(20)),
        ("pixels", Pixels()),
        (Cells(3), Cells(3)),
    ],
)
def test_features_are_given_by_name_by_table_or_as_they_are(given, made):
    assert features(given) == made == SensitivityN(features=given).features


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("cell", "unknown features 'cell': did you mean 'cells'"),
        ({"name": "cells", "size": 3}, "features 'cells': unknown setting 'size'"),
        ({"name": "cells", "grid": 0}, "features 'cells': grid must be a whole number, 1 or more"),
        ({"grid": 3}, "features are a name, a table with a name, or a Features"),
        (7, "features are a name, a table with a name, or a Features; got 7"),
    ],
)
def test_what_is_no_feature_is_refused_in_words(given, why):
    with pytest.raises(ValueError, match=why):
        SensitivityN(features=given)


@pytest.mark.parametrize(("high", "wide", "grid"), [(224, 224, 7), (96, 33, 7), (8, 5, 7), (6, 6, 9), (5, 90, 7)])
def test_cells_are_rectangles_of_equal_size_to_a_pixel_and_none_is_nearer_to_a_side(high, wide, grid):
    cut = Cells(grid)(torch.zeros(3, high, wide), 0)
    down, across = min(grid, high), min(grid, wide)
    assert cut.unique().tolist() == list(range(down * across))
    assert down * across <= Cells(grid).most(high * wide)
    for cells, line in ((down, cut[:, 0] // across), (across, cut[0] % across)):
        sizes = torch.bincount(line)
        assert int(sizes.max()) - int(sizes.min()) <= 1
        assert sizes.tolist() == sizes.flip(0).tolist()
        assert len(sizes) == cells
        assert (line.diff() >= 0).all()
    assert torch.equal(cut, cut[:, :1] // across * across + cut[:1] % across)


def test_a_features_worth_is_the_sum_over_its_pixels(noise_maps):
    maps, labels = noise_maps(2, 6, 7), [Cells(3)(torch.zeros(3, 6, 7), 0), Pixels()(torch.zeros(3, 6, 7), 0)]
    for found, values, cut in zip(worths(maps, labels), maps, labels, strict=True):
        expected = [float(values[cut == feature].sum()) for feature in range(int(cut.max()) + 1)]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)
