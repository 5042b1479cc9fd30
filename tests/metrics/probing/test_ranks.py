"""The order of the pixels: exact, fair among ties, and a function of map and seed alone."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Curve, Subject
from camfaith.metrics.probing.ranks import fingerprints, lottery, ranked, removed_at


def seeds(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def ranks(maps: torch.Tensor, drawn_from: torch.Tensor) -> torch.Tensor:
    return ranked(maps, lottery(drawn_from, maps[0].numel()))[0]


def test_the_most_relevant_pixel_has_rank_zero():
    maps = torch.tensor([[[0.1, 0.9], [0.5, -1.0]], [[4.0, 3.0], [2.0, 1.0]]])
    assert ranks(maps, seeds(0, 5)).tolist() == [[2, 0, 1, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_order_is_by_value_and_then_by_lot(noise_maps, slow_order, levels):
    maps = noise_maps(4, 5, 7, levels=levels)
    found = ranks(maps, seeds(3, 0, 12345678901, 3))
    for row, seed in enumerate((3, 0, 12345678901, 3)):
        assert found[row].argsort().tolist() == slow_order(maps[row], seed)


def test_two_maps_with_the_same_ties_break_them_alike(noise_maps):
    maps = noise_maps(3, 6, 6, levels=4)
    assert torch.equal(ranks(maps, seeds(1, 2, 3)), ranks(maps.exp() * 7 - 2, seeds(1, 2, 3)))


def test_another_seed_breaks_ties_otherwise():
    flat = torch.zeros(2, 6, 6)
    first, second = ranks(flat, seeds(1, 2))
    assert not torch.equal(first, second)


def test_the_seed_does_not_matter_where_nothing_ties():
    maps = torch.arange(30.0).view(1, 5, 6)
    assert torch.equal(ranks(maps, seeds(1)), ranks(maps, seeds(2)))


def test_the_order_does_not_depend_on_the_batch(noise_maps):
    maps = noise_maps(5, 4, 4, levels=3)
    alone = [ranks(maps[i : i + 1], seeds(i))[0] for i in (4, 2, 0)]
    assert torch.equal(ranks(maps[[4, 2, 0]], seeds(4, 2, 0)), torch.stack(alone))


def test_every_tied_pixel_is_first_equally_often():
    drawn = 2000
    tied = torch.tensor([[1.0, 1, 0, 1], [1, -2, 1, 1]])  # the pixels 0, 1, 3, 4, 6 and 7 tie for the first place
    first = Counter(ranks(tied.expand(drawn, 2, 4), torch.arange(drawn)).argmin(1).tolist())
    assert sorted(first) == [0, 1, 3, 4, 6, 7]
    assert chisquare(list(first.values())).pvalue > 1e-3


def test_of_two_tied_pixels_neither_place_is_favoured():
    drawn = 2000
    found = ranks(torch.zeros(drawn, 4, 5), torch.arange(drawn)).to(torch.float64)
    middle, spread = 19 / 2, ((20**2 - 1) / 12 / drawn) ** 0.5
    assert (found.mean(0) - middle).abs().max() < 4 * spread


@pytest.mark.parametrize("pixels", [(10, 10), (7, 9)])
def test_ten_percent_is_ten_percent_where_forty_percent_of_the_map_is_zero(noise_maps, pixels):
    maps = noise_maps(3, *pixels)
    maps = (maps - maps.flatten(1).quantile(0.4, dim=1)[:, None, None]).clamp(min=0)
    total = pixels[0] * pixels[1]
    assert float((maps == 0).to(torch.float64).mean()) == pytest.approx(0.4, abs=0.02)
    case = Case(torch.ones(3, 3, *pixels), torch.zeros(3), torch.zeros(3, 2), seeds(0, 1, 2))
    given = Maps(maps.float(), case)
    for row in range(3):
        images = torch.empty(9, 3, *pixels)
        Curve("rest", 10, baseline("black")).fill(Subject(case, row, given, row, None))(0, 9, images)
        gone = images[:, 0].flatten(1) == 0
        assert gone.sum(1).tolist() == [-(-i * total // 10) for i in range(1, 10)]
        assert (maps[row].flatten()[~gone[8]] == 0).all()  # no positive pixel stays while a zero has left


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


@settings(deadline=None, max_examples=60)
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


@settings(deadline=None, max_examples=60)
@given(pixels=st.integers(1, 500), data=st.data())
def test_the_points_of_a_curve_never_fall_and_are_less_than_a_pixel_off(pixels, data):
    steps = data.draw(st.integers(1, pixels))
    found = removed_at(steps, pixels).tolist()
    assert found == sorted(set(found))
    assert all(0 <= n - i * pixels / steps < 1 + 1e-9 for i, n in enumerate(found))


def test_the_global_generator_and_the_map_are_left_alone(noise_maps):
    maps, state = noise_maps(2, 4, 4, levels=2), torch.random.get_rng_state()
    kept = maps.clone()
    ranks(maps, seeds(0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(maps, kept)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float32, torch.float64])
def test_fingerprints_tell_rows_apart_that_differ_in_one_place(dtype):
    rows = torch.arange(1000).expand(4, -1).to(dtype).clone()
    rows[1, 500] += 1
    rows[2, [3, 4]] = rows[2, [4, 3]]
    first, *others = fingerprints(rows)
    assert [other == first for other in others] == [False, False, True]
