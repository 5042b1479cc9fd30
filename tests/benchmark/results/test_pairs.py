"""Methods are compared on the images that they share; orders, and how firm they are, are what the definitions say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, kendalltau, permutation_test, rankdata
from statsmodels.stats.multitest import multipletests

from camfaith.benchmark.results.agreement import agree, baseline_agreement
from camfaith.benchmark.results.cells import Block
from camfaith.benchmark.results.intervals import Floats, mean_interval
from camfaith.benchmark.results.paired import detectable, paired
from camfaith.benchmark.results.pairs import compare_methods
from camfaith.benchmark.results.ranking import rank_methods


def block(values: Mapping[str, Mapping[str, Any]], dataset: str = "data", units: Any = None) -> Block:
    """Metric → method → values; "loss" is better lower; "random" is a control."""
    rows = [(m, m == "random", metric, "value") for metric, of in values.items() for m in of]
    cells = pd.DataFrame(rows, columns=["method", "control", "metric", "column"])
    cells = cells.assign(better=["lower" if m == "loss" else "higher" for m in cells["metric"]], main=True)
    table: Floats = np.array([v for of in values.values() for v in of.values()], float)
    return Block("net", dataset, cells, pd.Index([f"s{i}" for i in range(table.shape[1])]), units, table)


RANDOM = np.random.default_rng(0)
BASE = RANDOM.normal(size=12)
OWN = {
    "a": BASE + 0.1 * RANDOM.normal(size=12),
    "b": BASE - 1 + 0.1 * RANDOM.normal(size=12),
    "c": BASE + 0.3 * RANDOM.normal(size=12),
}


def test_a_pair_is_what_its_differences_on_common_images_say() -> None:
    holed = {**OWN, "c": np.where(np.arange(12) < 2, np.nan, OWN["c"])}
    found = compare_methods([block({"loss": {**holed, "random": BASE}, "gain": holed})])
    assert [tuple(pair) for pair in found[["first", "second"]].to_numpy()[:3]] == [("a", "b"), ("a", "c"), ("b", "c")]
    for row in found.to_dict("records"):
        sign = -1 if row["metric"] == "loss" else 1
        apart = sign * (holed[row["first"]] - holed[row["second"]])
        apart = apart[np.isfinite(apart)]
        interval = mean_interval(apart)
        assert row["difference"] == pytest.approx(apart.mean())
        assert (row["low"], row["high"]) == pytest.approx((interval.low[0], interval.high[0]))
        assert (row["n"], row["ties"]) == (len(apart), 0)
        exact = permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert row["p"] == pytest.approx(exact.pvalue)
        assert row["first_mean"] - row["second_mean"] == pytest.approx(sign * row["difference"])
    assert found["adjusted"].to_list() == pytest.approx(multipletests(found["p"], method="holm")[1])
    assert found["ahead"].to_list() == ["second", "", "first", "first", "", "second"]


@pytest.mark.parametrize("n", [16, 60])
def test_the_smallest_difference_that_could_have_been_shown_is_shown_four_times_in_five(n: int) -> None:
    random = np.random.default_rng(1)
    found = paired(random.normal(size=(500, n)))
    told = np.median(detectable(found.deviation, found.units, 0.05))
    shown = paired(random.normal(told, 1, (1000, n))).p <= 0.05
    assert 0.72 < shown.mean() < 0.86


def test_samples_that_came_until_a_test_had_decided_are_not_tested_again() -> None:
    stopped = [replace(block({"gain": OWN}, f"data{i}"), sequential=True) for i in range(9)]
    found = compare_methods(stopped)
    assert found["p"].isna().all()
    assert (found["ahead"] == "").all()
    assert (found["model"] == "net").all()
    assert rank_methods(stopped[:1])["friedman_p"].isna().all()


def test_single_images_of_one_set_are_no_models_and_data_sets() -> None:
    alone = compare_methods([block({"gain": OWN})])
    assert (alone["model"] == "net").all()
    few = compare_methods([block({"gain": OWN}, f"data{i}") for i in range(7)])
    general = few[few["model"] == ""]
    assert general["n"].tolist() == [7] * 3
    assert general[["p", "low"]].isna().all(axis=None)
    drawn = [{m: v + 0.2 * RANDOM.normal() for m, v in OWN.items()} for _ in range(12)]
    many = compare_methods([block({"gain": each}, f"data{i}") for i, each in enumerate(drawn)])
    general = many[many["model"] == ""].set_index(["first", "second"])
    assert general.loc[("a", "b"), "ahead"] == "first"
    assert general.loc[("a", "b"), "difference"] == pytest.approx(np.mean([(d["a"] - d["b"]).mean() for d in drawn]))


def test_the_ranking_is_friedmans_over_the_images_that_methods_share() -> None:
    with_gap = {
        **OWN,
        "rare": np.where(np.arange(12) < 8, np.nan, BASE),
        "d": np.where(np.arange(12) < 3, np.nan, BASE),
    }
    found = rank_methods([block({"loss": with_gap})]).set_index("method")
    kept = np.array([with_gap[m] for m in "abcd"])[:, 3:]
    ranks = rankdata(kept, axis=0)
    statistic, p = friedmanchisquare(*kept)
    assert found["mean_rank"].to_dict() == pytest.approx(
        dict(zip("abcd", ranks.mean(1), strict=True)) | {"rare": np.nan}, nan_ok=True
    )
    assert found["friedman_p"].to_list() == pytest.approx([p] * 5)
    assert found["kendall_w"].to_list() == pytest.approx([statistic / (9 * 3)] * 5)
    assert found["n"].to_dict() == {"a": 9, "b": 9, "c": 9, "d": 9, "rare": 0}


def test_places_are_those_of_resampled_means() -> None:
    found = rank_methods([block({"gain": {**OWN, "same": OWN["b"] + 1e-9}})]).set_index("method")
    places = found[[f"place_{k}" for k in (1, 2, 3, 4)]]
    assert places.sum(axis=0).to_list() == pytest.approx([1] * 4)
    assert places.sum(axis=1).to_list() == pytest.approx([1] * 4)
    assert places.loc["b"].to_list() == places.loc["same"].to_list() == [0, 0, 0.5, 0.5]
    random = np.random.default_rng(9)
    drawn = random.integers(12, size=(4000, 12))
    ahead = np.mean(OWN["a"][drawn].mean(1) > OWN["c"][drawn].mean(1))
    assert places.loc["a", "place_1"] == pytest.approx(ahead, abs=0.03)


def test_clusters_count_as_one_in_ranks_and_pairs() -> None:
    units = [("cluster", i // 2) for i in range(24)]
    of = {m: np.repeat(v, 2) for m, v in OWN.items()}
    for table in (compare_methods, rank_methods):
        whole, single = table([block({"gain": of}, units=units)]), table([block({"gain": OWN})])
        assert (whole["units"] == 12).all()
        same = [c for c in single if c not in ("n", "ties")]
        pd.testing.assert_frame_equal(whole[same], single[same])


def test_agreement_is_kendalls_tau_between_the_means() -> None:
    random = np.random.default_rng(4)
    methods = [f"m{i}" for i in range(7)]
    gain = {m: random.normal(place, 1, 30) for place, m in enumerate(methods)}
    loss = {m: -v + random.normal(0, 3, 30) for m, v in gain.items()}
    flat = dict.fromkeys(methods, np.ones(30))
    found = agree([block({"gain": {**gain, "random": gain["m0"]}, "loss": loss, "flat": flat})]).set_index(
        ["first", "second"]
    )
    means = [[v.mean() for v in of.values()] for of in (gain, loss)]
    row = found.loc[("gain", "loss")]
    assert row["tau"] == pytest.approx(kendalltau(means[0], -np.array(means[1])).statistic)
    assert row["low"] <= row["tau"] <= row["high"]
    assert (row["methods"], row["n"]) == (7, 30)
    assert np.isnan(found.loc[("gain", "flat"), "tau"])
    few = agree([block({"gain": {m: gain[m] for m in methods[:2]}, "loss": loss})])
    assert few["tau"].isna().all()


def test_the_orders_under_several_baselines_are_compared_with_each_other_and_no_other_metric() -> None:
    orders = {
        "deletion-black": "abcd",
        "deletion-mean": "abdc",
        "deletion-blur": "dcba",
        "gain": "bacd",
        "other": "acbd",
    }
    values = {metric: {m: BASE + order.index(m) for m in "abcd"} for metric, order in orders.items()}
    parameters = {label: {"steps": 8, "baseline": label} for label in orders} | {"other": {"steps": 9, "baseline": "x"}}
    info = {
        "metrics": [
            {"label": m, "name": "gain" if m == "gain" else "deletion", "parameters": parameters[m]} for m in orders
        ]
    }
    (row,) = baseline_agreement([block(values)], info).to_dict("records")
    places = [[orders[m].index(method) for method in "abcd"] for m in orders if m.startswith("deletion")]
    taus = [kendalltau(places[i], places[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert row["tau"] == pytest.approx(np.mean(taus))
    assert row["lowest"] == pytest.approx(-1)
    assert row["labels"] == ("deletion-black", "deletion-mean", "deletion-blur")
    assert (row["metric"], row["baselines"], row["methods"], row["n"]) == ("deletion", 3, 4, 12)
