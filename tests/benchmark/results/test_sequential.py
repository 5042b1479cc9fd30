"""Leads are declared as soon as the data allow, are wrong no more often than promised, and are never taken back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from camfaith.benchmark.results.sequential import BETS, capital, decide, hopeless, intervals, worth

Floats = NDArray[np.float64]
RUNS = 2000

NULLS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "coins": lambda random, shape: random.choice([-1.0, 1.0], shape),
    "mostly ties": lambda random, shape: random.choice([-1.0, 0.0, 0.0, 0.0, 1.0], shape),
    "some undefined": lambda random, shape: random.choice([-1.0, 1.0, np.nan], shape),
}


def most(rate: float, runs: int) -> float:
    """The greatest share of runs that a true rate of at most `rate` yields, but for one time in a thousand."""
    return float(binom.ppf(0.999, runs, rate)) / runs


def leaning(lead: float, shape: tuple[int, int], seed: int = 0) -> Floats:
    """Signs, a fifth of them ties, with `lead` more ahead than behind."""
    ahead = 0.4 + lead / 2
    return np.random.default_rng(seed).choice([1.0, 0.0, -1.0], shape, p=[ahead, 0.2, 0.8 - ahead])


def one_by_one(signs: Floats, level: float, margin: float = 0.0) -> tuple[list[str], list[int]]:
    """Each column decided as the only one of its family."""
    found = [decide(signs[:, [k]], level, margin) for k in range(signs.shape[1])]
    return [ahead[0] for ahead, _ in found], [int(images[0]) for _, images in found]


def tally(signs: Floats) -> Floats:
    return np.stack([(signs == d).sum(0) for d in (1, 0, -1)]).astype(float)


# The capital


@pytest.mark.parametrize(("won", "lost"), [(0, 1), (1, 0), (16, 0), (9, 4), (40, 23)])
def test_the_capital_of_both_sides_is_krichevsky_and_trofimovs(won: int, lost: int) -> None:
    signs = np.random.default_rng(0).permutation([1.0] * won + [-1.0] * lost)[:, None]
    hedged = (capital(signs)[-1, 0] + capital(-signs)[-1, 0]) / 2
    log_beta = math.lgamma(won + 0.5) + math.lgamma(lost + 0.5) - math.lgamma(won + lost + 1) - math.log(math.pi)
    assert hedged == pytest.approx(math.exp((won + lost) * math.log(2) + log_beta))


def test_the_capital_is_the_mean_over_bets_of_their_products() -> None:
    d, m = leaning(0.1, (7, 1)), -0.2
    slow = np.mean([math.prod(1 + bet * (x - m) / (1 + m) for x in d[:, 0]) for bet in BETS])
    assert capital(d, m)[-1, 0] == pytest.approx(slow)


# Error rates


@pytest.mark.parametrize("name", NULLS)
def test_the_capital_of_either_side_ever_reaches_twice_one_over_alpha_no_more_often_than_alpha(name: str) -> None:
    drawn = NULLS[name](np.random.default_rng(0), (200, RUNS))
    reached = [(capital(side * drawn) >= 2 / 0.1).any(0) for side in (1, -1)]
    assert 0.02 < np.logical_or(*reached).mean() <= most(0.1, RUNS)
    assert max(each.mean() for each in reached) <= most(0.05, RUNS)


def test_equality_is_declared_at_the_edge_of_the_margin_no_more_often_than_said() -> None:
    ahead, _ = one_by_one(leaning(0.3, (200, 400)), 0.2, margin=0.3)
    assert 0 < ahead.count("equal") / 400 <= most(0.1, 400)


@pytest.mark.parametrize("lead", [0.0, 0.3])
def test_intervals_miss_the_mean_no_more_often_than_said(lead: float) -> None:
    low, high = intervals(tally(leaning(lead, (60, 1000))), 0.1)
    assert ((low > lead) | (high < lead)).mean() <= most(0.1, 1000)


def mixture(random: np.random.Generator, images: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Signs of thirty pairs that depend on each other through the image, and which of them lead: a third."""
    leads = np.arange(30) % 3 == 0
    together = random.random((images, 1))  # one image is easy or hard for all
    mixed = np.where(random.random((images, 30)) < 0.5, together, random.random((images, 30)))
    return np.where(mixed < np.where(leads, 0.75, 0.5), 1.0, -1.0), leads


def test_of_the_leads_that_are_declared_the_share_that_is_wrong_is_no_more_than_said() -> None:
    """Also where what is hopeless is dropped; and more is declared than if no wrong one were allowed."""
    random, level, runs = np.random.default_rng(0), 0.5, 200
    shares, found, strict = [], 0, 0
    for _ in range(runs):
        signs, leads = mixture(random, 60)
        for look in (20, 40):
            signs[look:, hopeless(signs[:look], level, 0.0, 60)] = np.nan
        ahead, _ = decide(signs, level)
        right = leads & (ahead == "first")
        shares.append(((ahead != "").sum() - right.sum()) / max(1, (ahead != "").sum()))
        found += int(right.sum())
        strict += int((leads & (capital(signs) >= 2 * 30 / level).any(0)).sum())
    assert 0 < np.mean(shares) <= level / 2 + 3 * np.std(shares) / runs**0.5, "half: a coin has one wrong side of two"
    assert found > 1.15 * strict


def test_the_most_columns_are_declared_whose_capital_is_enough_for_as_many() -> None:
    """Checked against every number of columns, tried one after the other, from the definition."""
    random, level = np.random.default_rng(4), 0.3
    signs = np.concatenate([leaning(lead, (50, 6), seed) for seed, lead in enumerate((0.0, 0.2, 0.4))], 1)
    signs[random.random(signs.shape) < 0.1] = np.nan
    declared: dict[int, str] = {}
    for t in range(1, 51):
        sides = {way: capital(side * signs[:t])[-1] for way, side in (("first", 1), ("second", -1))}
        best = [np.inf if k in declared else max(side[k] for side in sides.values()) for k in range(18)]
        for count in range(18, 0, -1):
            chosen = [k for k in range(18) if best[k] >= 2 * 18 / (level * count)]
            if len(chosen) >= count:
                for k in set(chosen) - set(declared):
                    declared[k] = max(sides, key=lambda way: sides[way][k])
                break
        ahead, _ = decide(signs[:t], level)
        assert {k: way for k, way in enumerate(ahead) if way} == declared
    assert 3 < len(declared) < 18


# What is given up


def test_methods_of_equal_scores_are_given_up_and_no_unbroken_lead_is() -> None:
    alike, won = np.zeros((200, 1)), np.ones((200, 1))
    given_up = [t for t in range(1, 201) if hopeless(alike[:t], 0.05, 0.0, 500)[0]]
    assert given_up[0] < 130
    assert given_up == list(range(given_up[0], 201)), "and stay so"
    assert not any(hopeless(won[:t], 0.05, 0.0, 500)[0] for t in range(1, 201))
    assert not hopeless(np.empty((0, 1)), 0.05, 0.0, 500)[0]


def test_at_the_end_all_is_given_up_that_is_not_settled_whatever_happens_to_others() -> None:
    drawn = leaning(0.2, (100, 50))
    enough = np.maximum(capital(drawn), capital(-drawn))[-1] >= 2 / 0.05
    assert (hopeless(drawn, 0.05, 0.0, 100) == ~enough).all()
    assert 0 < enough.sum() < 50
    more = np.concatenate([drawn, np.full((60, 50), np.nan)])
    assert (hopeless(drawn, 0.05, 0.0, 300) == hopeless(more, 0.05, 0.0, 300)).all()


@pytest.mark.parametrize(("lead", "most_lost"), [(0.2, 0.25), (0.4, 0.02)])
def test_few_are_given_up_at_any_look_that_would_have_settled(lead: float, most_lost: float) -> None:
    drawn = np.random.default_rng(0).choice([1.0, -1.0], (300, 1000), p=[0.5 + lead / 2, 0.5 - lead / 2])
    reached = np.maximum(capital(drawn), capital(-drawn)) >= 2 / 0.05
    when = np.where(reached.any(0), reached.argmax(0), 300)
    dropped = np.array([t * hopeless(drawn[:t], 0.05, 0.0, 300) for t in range(16, 300, 16)])
    first = np.where(dropped > 0, dropped, 300).min(0)
    lost = (when < 300) & (first <= when)
    assert (when < 300).mean() > 0.5
    assert lost.sum() <= most_lost * (when < 300).sum()
    assert lead > 0.2 or lost.any()


def test_a_small_lead_that_may_be_luck_does_not_speak_against_equality() -> None:
    seen = np.repeat([1.0, -1.0, 0.0], [4, 2, 30])[:, None]
    assert hopeless(seen, 0.05, 0.0, 60)[0], "far from a lead"
    assert not hopeless(seen, 0.05, 0.2, 60)[0]


# Power


def test_an_unbroken_row_of_wins_settles_a_few_images_after_any_test_could() -> None:
    (ahead,), (images,) = decide(np.ones((40, 1)), 5e-5)
    soonest = math.ceil(math.log(1 / 5e-5) / math.log(2))
    assert ahead == "first"
    assert soonest == 15
    assert soonest <= images <= soonest + 4


def test_methods_that_share_the_lead_are_found_equal_within_a_margin_and_only_there() -> None:
    ties = np.zeros((300, 1))
    assert decide(ties, 0.05)[0] == [""]
    assert decide(ties, 0.05, margin=0.1)[0] == ["equal"]
    low, high = intervals(tally(ties), 0.05)
    assert -0.1 <= low[0] < 0 < high[0] <= 0.1
    assert decide(leaning(0.6, (300, 1)), 0.05, margin=0.1)[0] == ["first"]


# Decisions


def test_the_interval_holds_the_means_whose_capital_is_short_of_its_end() -> None:
    d, alpha = leaning(0.2, (80, 1)), 0.05
    grid = np.linspace(-0.9995, 0.9995, 2000)
    kept = [all(capital(side * d, side * m)[-1, 0] < 2 / alpha for side in (1, -1)) for m in grid]
    (low,), (high,) = intervals(tally(d), alpha)
    assert low == pytest.approx(grid[kept].min(), abs=0.0011)
    assert high == pytest.approx(grid[kept].max(), abs=0.0011)


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.4])
def test_what_is_held_at_the_end_depends_on_the_images_and_not_on_their_order(mean: float) -> None:
    d = leaning(0.2, (60, 7))
    np.testing.assert_allclose(worth(tally(d), mean), capital(d, mean)[-1], rtol=1e-9)


def test_decisions_and_intervals_change_sides_with_the_methods() -> None:
    drawn = leaning(0.4, (100, 20))
    (there, images), (back, as_many) = decide(drawn, 0.01), decide(-drawn, 0.01)
    assert set(there) == {"first", ""}
    assert (there == "first").tolist() == (back == "second").tolist()
    assert (images == as_many).all()
    np.testing.assert_array_equal(intervals(tally(drawn), 0.01)[0], -intervals(tally(-drawn), 0.01)[1])


def test_a_lead_once_settled_is_kept_and_an_image_without_a_sign_counts_for_nothing() -> None:
    won = np.ones((100, 1))
    assert decide(np.concatenate([won, -won]), 0.01) == decide(won, 0.01)
    d = leaning(0.4, (60, 1))
    gaps = np.insert(d, [0, 5, 60], np.nan, axis=0)
    assert decide(gaps, 0.01) == decide(d, 0.01)


@pytest.mark.parametrize("nothing", [np.empty((0, 1)), np.full((9, 1), np.nan)])
def test_no_images_say_nothing(nothing: Floats) -> None:
    assert decide(nothing, 0.05, margin=0.1) == ([""], [0])
    assert intervals(tally(nothing), 0.05) == ([-1], [1])
