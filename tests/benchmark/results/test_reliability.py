"""A card says what a metric's own numbers show of it: agreement, what it tells apart, grain, steps, ties."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from camfaith.benchmark.results.cells import blocks
from camfaith.benchmark.results.raters import alpha, split_half
from camfaith.benchmark.results.reliability import BLIND, RELIABILITY_COLUMNS, beside, reliability_of
from camfaith.benchmark.results.showing import cautions
from camfaith.benchmark.results.statistics import summarise
from camfaith.benchmark.results.tables import SCHEMAS
from camfaith.benchmark.results.thinning import thinned_agreement

IMAGES = 12
EASE = np.random.default_rng(3).normal(size=IMAGES)
"""What all methods have in common on an image."""
JITTER = np.random.default_rng(4).normal(size=(2, IMAGES))


def info_of(
    methods: Mapping[str, Any], better: Mapping[str, str | None], controls: tuple[str, ...] = (*BLIND, "oracle")
) -> dict[str, Any]:
    return {
        "suite": {},
        "models": [{"name": "net"}],
        "datasets": [{"name": "data"}],
        "methods": [{"label": m, "name": m, "control": m in controls} for m in methods],
        "metrics": [
            {"label": m, "name": m, "parameters": {}, "main": "value", "better": {"value": way} if way else {}}
            for m, way in better.items()
        ],
    }


def scores_of(methods: Mapping[str, Any], metric: str = "gain", column: str = "value") -> pd.DataFrame:
    tables = []
    for method, values in methods.items():
        table = pd.DataFrame({"value": np.broadcast_to(np.asarray(values, float), IMAGES)})
        table = table.assign(sample=[f"s{i}" for i in range(IMAGES)], method=method, metric=metric, column=column)
        tables.append(table.assign(status=np.where(table["value"].isna(), "undefined", "ok"), error="", cluster=None))
    return pd.concat(tables).assign(model="net", dataset="data").reindex(columns=SCHEMAS["scores"].names)


def cards_of(scores: pd.DataFrame, info: dict[str, Any], lines: pd.DataFrame | None = None) -> pd.DataFrame:
    none = pd.DataFrame(columns=["model", "dataset", "method", "metric", "sample", "x", "y"])
    return reliability_of(list(blocks(scores, info)), scores, none if lines is None else lines, info)


def slow_alpha(ranks: np.ndarray) -> float:
    """Krippendorff (2011), sections C and D: coincidences of the values that images gave to a method; the ordinal
    difference counts the values that lie between two of them."""
    images, values = ranks.shape[1], np.unique(ranks)
    pairs = [(a, b) for row in ranks for i, a in enumerate(row) for j, b in enumerate(row) if i != j]
    coincident = {v: dict.fromkeys(values, 0.0) for v in values}
    for a, b in pairs:
        coincident[a][b] += 1 / (images - 1)
    count = {v: sum(coincident[v].values()) for v in values}
    n, observed, expected = sum(count.values()), 0.0, 0.0
    for v, w in combinations(values, 2):
        apart = (sum(count[g] for g in values if v <= g <= w) - (count[v] + count[w]) / 2) ** 2
        observed += coincident[v][w] * apart
        expected += count[v] * count[w] * apart
    return 1 - (n - 1) * observed / expected


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_krippendorffs_of_the_ranks_that_images_give(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, (5, 7)).astype(float)
    assert alpha(values) == pytest.approx(slow_alpha(rankdata(values, axis=0)), abs=1e-12)
    untied = np.random.default_rng(seed).normal(size=(5, 7)) + np.arange(5)[:, None]
    rho = np.mean([spearmanr(untied[:, i], untied[:, j]).statistic for i, j in combinations(range(7), 2)])
    assert alpha(untied) == pytest.approx(1 - (1 - rho) * (35 - 1) / 35, abs=1e-12)
    assert alpha(np.exp(untied)) == alpha(untied)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 2], [2, 3], [3, 4]], 1),
        ([[1, 3], [2, 2], [3, 1]], 1 - 2 * 5 / 6),
        ([[1, 1], [1, 1]], np.nan),
        ([[1, 2]], np.nan),
        ([[1], [2]], np.nan),
    ],
)
def test_alpha_of_plain_cases(values: Any, expected: float) -> None:
    assert alpha(np.array(values, float)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 1], [2, 3], [3, 2]], 0.5),  # two images: the halves are these
        ([[1, 2, 9, 4], [2, 3, 10, 5], [3, 4, 11, 6]], 1),
        ([[1, 1, 3, 3], [2, 2, 2, 2], [3, 3, 1, 1]], -1),  # where the halves are not alike, all methods tie
        ([[1, 2], [2, 3]], np.nan),
        ([[1, 2], [1, 2], [1, 2]], np.nan),
    ],
)
def test_split_half_is_the_correlation_of_two_halves_orders(values: Any, expected: float) -> None:
    assert split_half(np.array(values, float)) == pytest.approx(expected, nan_ok=True)


def curves_of(ys: Mapping[str, Any]) -> pd.DataFrame:
    rows = [("net", "data", m, "gain", "s0", np.linspace(0, 1, len(y)), np.array(y, float)) for m, y in ys.items()]
    return pd.DataFrame(rows, columns=["model", "dataset", "method", "metric", "sample", "x", "y"])


@pytest.mark.parametrize(
    ("ys", "expected"),
    [
        ({"a": [1, 0, 1, 0, 1], "b": [1, 0, 2, 0, 1], "c": [1, 0, 3, 0, 1]}, 1),
        ({"a": [1, 9, 1, 9, 1], "b": [1, 5, 2, 5, 1], "c": [1, 0, 3, 0, 1]}, -1),  # what lies between decides
        (
            {"a": [1, 0, 1, 0, 1, 9], "b": [1, 0, 2, 0, 1, 8], "c": [1, 0, 3, 0, 1, 0]},
            1,
        ),  # of 5 steps the last is whole
        ({"a": [1, 9, 1, 1], "b": [1, 5, 2, 1], "c": [1, 0, 3, 1]}, np.nan),
        ({"a": [1, 0, 1, 0, 1], "b": [1, 0, 2, 0, 1]}, np.nan),
    ],
)
def test_steps_are_too_few_where_half_of_them_give_another_order(ys: Any, expected: float) -> None:
    assert thinned_agreement(curves_of(ys), ["a", "b", "c"]) == pytest.approx(expected, nan_ok=True)


LEVELS = {"a": 2, "b": 1, "c": -1, "random": 0, "random-pixels": 0.5, "constant": 0, "center-gaussian": 1.5, "sobel": 3}


@pytest.mark.parametrize(("way", "sign"), [("higher", 1), ("lower", -1)])
def test_a_card_says_what_is_told_apart(way: str, sign: int) -> None:
    values = {m: sign * (EASE + level) for m, level in (LEVELS | {"oracle": 4}).items()}
    values["b"] = np.where(np.arange(IMAGES) < 3, values["a"], values["b"])
    values["c"] = np.where(np.arange(IMAGES) < 2, np.nan, values["c"])
    scores = pd.concat([scores_of(values), scores_of({"a": 0.1, "b": 0.2, "random": 9}, column="ties")])
    scores.loc[(scores["method"] == "a") & (scores["sample"] == "s0"), "status"] = "constant"
    (card,) = cards_of(scores, info_of(values, {"gain": way})).to_dict("records")
    assert list(card) == list(RELIABILITY_COLUMNS)
    shares = {name: (card[beside("above", name)], card[beside("below", name)]) for name in BLIND}
    assert shares == {
        "random": (2 / 3, 1 / 3),
        "random-pixels": (2 / 3, 1 / 3),
        "constant": (2 / 3, 1 / 3),
        "center-gaussian": (1 / 3, 1 / 3),  # b is worse but for three images, which is not shown
        "sobel": (0, 1),
    }
    assert (card["oracle"], card["grain"]) == (1, "pixels")
    assert (card["methods"], card["n"], card["units"]) == (3, 10, 10)
    assert card["alpha"] == pytest.approx(alpha(sign * np.array([values[m][2:] for m in "abc"])))
    assert card["split_half"] == 1
    assert card["equal"] == pytest.approx(3 / (12 + 10 + 10))
    assert (card["degenerate"], card["undefined"]) == pytest.approx((1 / 36, 2 / 36))
    assert card["ties"] == pytest.approx(0.15)
    assert np.isnan([card["steps"], card["baselines"], card["drift"]]).all()


def test_the_grain_may_decide_for_cells_or_not_at_all() -> None:
    values = {"a": EASE, "random": EASE + 1, "random-pixels": EASE}
    info = info_of(values, {"gain": "higher"})
    assert cards_of(scores_of(values), info)["grain"].tolist() == ["cells"]
    assert cards_of(scores_of(values | {"random": EASE + JITTER[0]}), info)["grain"].tolist() == [""]


@pytest.mark.parametrize("seed", range(3))
def test_above_random_is_what_the_summary_says(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(7, IMAGES))
    values = {f"m{i}": 0.25 * i + row for i, row in enumerate(noise[:6])} | {"random": noise[6]}
    scores = pd.concat([scores_of(values), scores_of({m: -v for m, v in values.items()}, "loss")])
    info = info_of(values, {"gain": "higher", "loss": "lower"})
    summary = summarise(scores, info)
    expected = summary[~summary["control"]].groupby("metric")["above_random"].mean()
    found = cards_of(scores, info).set_index("metric")["above_random"]
    assert found.to_dict() == expected.to_dict()
    assert 0 < expected["gain"] < 1


def test_a_card_claims_nothing_of_few_images_nor_of_a_run_until_all_is_separated() -> None:
    values = {"a": EASE + 1, "b": EASE, "c": EASE - 1, "random": EASE - 2, "random-pixels": EASE, "oracle": EASE + 9}
    info = info_of(values, {"gain": "higher"})
    claims = ["above_random", "below_random", "above_sobel", "oracle", "grain"]
    few = scores_of({m: np.where(np.arange(IMAGES) < 7, v, np.nan) for m, v in values.items()})
    lines = curves_of({m: np.arange(5) * i for i, m in enumerate("abc")})
    assert cards_of(few, info, lines)[[*claims, "alpha", "split_half", "steps"]].isna().all(axis=None)
    pairs = scores_of(values)
    pairs = cards_of(pairs.assign(cluster=pairs["sample"].map(lambda name: f"eye {int(name[1:]) // 2}")), info)
    assert pairs[["n", "units"]].to_numpy().tolist() == [[12, 6]]
    assert pairs[[*claims, "alpha", "split_half"]].isna().all(axis=None)
    until = cards_of(scores_of(values), info | {"suite": {"until": "separated"}})
    assert until[claims].isna().all(axis=None)
    assert until["alpha"].tolist() == [1]
    assert cards_of(scores_of(values, "note"), info_of(values, {"note": None})).empty
    assert cards_of(scores_of(values).iloc[:0], info).empty


def test_a_metric_of_several_baselines_shares_how_far_they_agree() -> None:
    values = {"a": EASE, "b": EASE + 1, "c": EASE + 2}
    shifted = {"a": EASE, "b": EASE + 2, "c": EASE + 1}  # one of three pairs the other way round
    info = info_of(values, dict.fromkeys(["black", "blur", "other"], "higher"))
    for metric, name in zip(info["metrics"], ["deletion", "deletion", "insertion"], strict=True):
        metric |= {"name": name, "parameters": {"baseline": metric["label"]}}
    scores = [scores_of(values, "black"), scores_of(shifted, "blur"), scores_of(values, "other")]
    found = cards_of(pd.concat(scores), info).set_index("metric")["baselines"]
    assert found[["black", "blur"]].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert np.isnan(found["other"])


def test_a_curve_that_chooses_its_own_points_is_not_thinned() -> None:
    values = dict.fromkeys("abc", EASE)
    info, lines = info_of(values, {"gain": "higher"}), curves_of({m: np.arange(5) * i for i, m in enumerate("abc")})
    assert cards_of(scores_of(values), info, lines)["steps"].tolist() == [1]
    info["metrics"][0]["parameters"] = {"tolerance": 0.01}
    assert cards_of(scores_of(values), info, lines)["steps"].isna().all()


@pytest.mark.parametrize(
    ("methods", "random", "said"),
    [
        ({"a": EASE + JITTER[0], "b": EASE + JITTER[1]}, EASE, "cannot be told from the methods"),
        ({"a": EASE + JITTER[0], "b": EASE - 1}, EASE, "some are shown to be worse"),
        ({"a": EASE + 1, "b": EASE - 1}, EASE, None),
        ({"a": EASE + JITTER[0], "b": EASE + JITTER[1]}, None, None),
        ({"a": np.where(np.arange(IMAGES) < 7, EASE, np.nan)}, EASE, None),
    ],
)
def test_a_metric_that_cannot_tell_random_maps_is_named(methods: Any, random: Any, said: str | None) -> None:
    values = methods if random is None else methods | {"random": random}
    info = info_of(values, {"gain": "higher"})
    summary = summarise(scores_of(values), info)
    lines = cautions(summary[summary["main"]], info)
    assert [line for line in lines if line.startswith("By gain value") and str(said) in line] == lines
    assert len(lines) == (said is not None)
