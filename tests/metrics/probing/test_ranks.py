"""The order of the pixels: exact, fair among ties, and a function of map and seed alone."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from camfaith.metrics.probing.ranks import fingerprints, lottery, ranked, removed_at


def seeds(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def ranks(maps: torch.Tensor, drawn_from: torch.Tensor) -> torch.Tensor:
    return ranked(maps, lottery(drawn_from, maps[0].numel()))[0]


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_order_is_by_value_and_then_by_lot(noise_maps, slow_order, levels):
    maps = noise_maps(4, 5, 7, levels=levels)
    found = ranks(maps, seeds(3, 0, 12345678901, 3))
    for row, seed in enumerate((3, 0, 12345678901, 3)):
        assert found[row].argsort().tolist() == slow_order(maps[row], seed)


def test_every_tied_pixel_is_first_equally_often():
    drawn = 2000
    tied = torch.tensor([[1.0, 1, 0, 1], [1, -2, 1, 1]])  # the pixels 0, 1, 3, 4, 6 and 7 tie for the first place
    first = Counter(ranks(tied.expand(drawn, 2, 4), torch.arange(drawn)).argmin(1).tolist())
    assert sorted(first) == [0, 1, 3, 4, 6, 7]
    assert chisquare(list(first.values())).pvalue > 1e-3


def test_the_tie_fraction_counts_the_pixels_that_are_not_alone():
    maps = torch.tensor(
        [[[1.0, 1], [2, 3]], [[1, 2], [3, 4]], [[5, 5], [5, 5]], [[1, 2], [2, 1]], [[0.0, -0.0], [1, 2]]]
    )
    assert ranked(maps, lottery(seeds(0, 1, 2, 3, 4), 4))[1].tolist() == [0.5, 0, 1, 1, 0.5]


def test_the_points_of_a_curve_are_rounded_up():
    assert removed_at(3, 10).tolist() == [0, 4, 7, 10]
    assert removed_at(5, 5).tolist() == [0, 1, 2, 3, 4, 5]
    assert removed_at(1, 8).tolist() == [0, 8]
    assert removed_at(7, 224 * 224).tolist() == [-(-i * 224 * 224 // 7) for i in range(8)]


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_a_curve_has_between_one_step_and_one_per_pixel(steps):
    with pytest.raises(ValueError, match=f"between 1 and the number of pixels, 10; got {steps}"):
        removed_at(steps, 10)


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.one_of(st.sampled_from([0.0, -0.0, 1.0]), st.floats(-(2.0**99), 2.0**99, width=32)), min_size=1),
    seed=st.integers(0, 2**62),
)
def test_ranks_are_a_permutation_along_which_no_value_rises(values, seed):
    maps = torch.tensor(values).view(1, 1, -1)
    found = ranks(maps, seeds(seed))[0]
    assert found.sort().values.tolist() == list(range(len(values)))
    in_order = torch.tensor(values)[found.argsort()]
    assert (in_order[1:] <= in_order[:-1]).all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float32, torch.float64])
def test_fingerprints_tell_rows_apart_that_differ_in_one_place(dtype):
    rows = torch.arange(1000).expand(4, -1).to(dtype).clone()
    rows[1, 500] += 1
    rows[2, [3, 4]] = rows[2, [4, 3]]
    first, *others = fingerprints(rows)
    assert [other == first for other in others] == [False, False, True]
