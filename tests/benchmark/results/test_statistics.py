"""Means, intervals, ranks and paired differences are right, and missing values are counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from camfaith.benchmark.results.bootstrap import mean_interval
from camfaith.benchmark.results.statistics import (
    SUMMARY_COLUMNS,
    conservation_scale,
    few_samples,
    mean_ranks,
    summarise,
)
from camfaith.benchmark.results.tables import SCHEMAS

SKEWED = np.random.default_rng(3).exponential(size=32) ** 1.5


def described(methods: Mapping[str, bool], **better: str) -> dict[str, Any]:
    """A run's info: methods with whether they are controls, and one metric per keyword with its direction."""
    return {
        "models": [{"name": "net"}],
        "datasets": [{"name": "data"}],
        "methods": [{"label": m, "name": m, "control": control} for m, control in methods.items()],
        "metrics": [{"label": m, "name": m, "main": "value", "better": {"value": way}} for m, way in better.items()],
    }


def rows(method: str, values: Any, *, metric: str = "gain", column: str = "value", **more: Any) -> pd.DataFrame:
    table = pd.DataFrame({"value": np.asarray(values, float)})
    table = table.assign(model="net", dataset="data", method=method, metric=metric, column=column)
    table = table.assign(sample=[f"s{i}" for i in range(len(table))], cluster=None, status="ok", error="")
    return table.assign(**more).reindex(columns=SCHEMAS["scores"].names)


def only(summary: pd.DataFrame, method: str, metric: str = "gain", column: str = "value") -> pd.Series:
    found = summary[(summary["method"] == method) & (summary["metric"] == metric) & (summary["column"] == column)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_scipys_bca(level: float) -> None:
    theirs = bootstrap((SKEWED,), np.mean, method="BCa", confidence_level=level, n_resamples=40000, rng=1)
    ours = mean_interval(SKEWED, level=level, resamples=40000)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.mean[0] == pytest.approx(SKEWED.mean())
    assert ours.low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_the_interval_of_skewed_values_is_not_symmetric() -> None:
    found = mean_interval(SKEWED)
    assert found.high[0] - found.mean[0] > 1.3 * (found.mean[0] - found.low[0])


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).normal(1, 1, (600, 40))
    found = mean_interval(drawn, resamples=999)
    covered = ((found.low < 1) & (found.high > 1)).mean()
    assert 0.91 < covered < 0.975


def test_clusters_widen_the_interval_of_clustered_values() -> None:
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(10), 6)
    values = random.normal(size=10)[clusters] + 0.1 * random.normal(size=60)
    naive, whole = mean_interval(values), mean_interval(values, clusters)
    assert whole.mean[0] == naive.mean[0]
    assert whole.high[0] - whole.low[0] > 1.8 * (naive.high[0] - naive.low[0])


def test_clusters_of_one_sample_change_nothing() -> None:
    plain, clustered = mean_interval(SKEWED), mean_interval(SKEWED, [("cluster", i) for i in range(len(SKEWED))])
    assert (plain.low, plain.high) == (clustered.low, clustered.high)


def test_a_cluster_interval_is_that_of_the_cluster_means_where_clusters_are_equal() -> None:
    values = np.random.default_rng(5).normal(size=(12, 4))
    of_samples = mean_interval(values.ravel(), np.repeat(np.arange(12), 4))
    of_means = mean_interval(values.mean(1))
    assert of_samples.low[0] == pytest.approx(of_means.low[0])
    assert of_samples.high[0] == pytest.approx(of_means.high[0])


def test_missing_values_leave_the_interval_of_what_is_there() -> None:
    holes = np.insert(SKEWED, [0, 7, 31], np.nan)
    full, holed = mean_interval(SKEWED), mean_interval(holes)
    assert holed.n[0] == 32
    assert (holed.low[0], holed.high[0]) == pytest.approx((full.low[0], full.high[0]))


def test_degenerate_cells_have_limits_at_the_mean_or_none() -> None:
    found = mean_interval(np.array([[np.nan, np.nan], [2, np.nan], [0.3, 0.3]]), fewest=1)
    assert found.n.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.mean, [np.nan, 2, 0.3])
    np.testing.assert_array_equal(found.low, [np.nan, 2, 0.3])
    np.testing.assert_array_equal(found.high, [np.nan, 2, 0.3])


def test_several_values_of_one_cluster_have_no_interval() -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0]), ["a", "a", "a"], fewest=1)
    assert found.mean[0] == 2
    assert np.isnan(found.low[0])


def test_binary_values_keep_their_interval_within_the_unit() -> None:
    found = mean_interval(np.array([0.0] * 9 + [1.0]))
    assert 0 <= found.low[0] < 0.1 < found.high[0] <= 1


@pytest.mark.parametrize(("way", "sign"), [("higher", 1), ("lower", -1)])
def test_the_difference_is_positive_where_the_method_is_better(way: str, sign: int) -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=20)
    own = base + 0.5 + 0.01 * random.normal(size=20)
    scores = pd.concat([rows("cam", own), rows("random", base)])
    found = only(summarise(scores, described({"cam": False, "random": True}, gain=way)), "cam")
    assert found["difference"] == pytest.approx(sign * (own - base).mean())
    assert found["difference_low"] < found["difference"] < found["difference_high"]
    assert found["difference_high"] - found["difference_low"] < 0.02 < found["high"] - found["low"]


def test_the_difference_is_over_common_images() -> None:
    scores = pd.concat([rows("cam", [1, 2, np.nan, 4]), rows("random", [0, np.nan, 0, 0])])
    found = only(summarise(scores, described({"cam": False, "random": True}, gain="higher")), "cam")
    assert found["n"] == 3
    assert found["difference"] == 2.5


def test_without_a_random_control_or_a_direction_there_is_no_difference() -> None:
    scores = pd.concat([rows("cam", [1, 2]), rows("cam", [1, 2], column="note"), rows("random", [0, 1])])
    without = summarise(scores, described({"cam": False, "random": False}, gain="higher"))
    assert without["difference"].isna().all()
    found = summarise(scores, described({"cam": False, "random": True}, gain="higher"))
    assert np.isnan(only(found, "cam", column="note")["difference"])
    assert np.isnan(only(found, "random")["difference"])


def test_ranks_follow_the_direction_and_leave_controls_out() -> None:
    values = {"good": [3, 3], "bad": [1, 1], "fair": [2, 2], "random": [9, 9]}
    scores = pd.concat([rows(m, v, metric=metric) for m, v in values.items() for metric in ("gain", "loss")])
    info = described({"good": False, "bad": False, "fair": False, "random": True}, gain="higher", loss="lower")
    found = summarise(scores, info, fewest=1)
    assert [only(found, m)["rank"] for m in ("good", "fair", "bad")] == [1, 2, 3]
    assert [only(found, m, "loss")["rank"] for m in ("good", "fair", "bad")] == [3, 2, 1]
    assert np.isnan(only(found, "random")["rank"])


def test_equal_means_share_the_mean_rank_though_rounding_tells_them_apart() -> None:
    values = {"a": [0.5, 0.7], "b": [0.5 + 3e-7, 0.7], "c": [0.9, 0.9], "d": [0.1, 0.1]}
    scores = pd.concat([rows(m, v) for m, v in values.items()])
    found = summarise(scores, described(dict.fromkeys(values, False), gain="higher"), fewest=1)
    assert [only(found, m)["rank"] for m in "abcd"] == [2.5, 2.5, 1, 4]


def test_a_method_without_values_has_no_rank_and_takes_none() -> None:
    scores = pd.concat([rows("a", [1, 2]), rows("b", [np.nan] * 2, status="error", error="no"), rows("c", [0, 1])])
    found = summarise(scores, described(dict.fromkeys("abc", False), gain="higher"), fewest=1)
    assert np.isnan(only(found, "b")["rank"])
    assert only(found, "b")["errors"] == 2
    assert [only(found, m)["rank"] for m in "ac"] == [1, 2]


@pytest.mark.parametrize(
    ("samples", "clusters", "enough"), [(1, 1, False), (7, 7, False), (8, 8, True), (24, 7, False)]
)
def test_below_eight_samples_or_clusters_there_is_a_mean_and_nothing_more(
    samples: int, clusters: int, enough: bool
) -> None:
    names = [f"p{i % clusters}" for i in range(samples)] if clusters < samples else None
    values = np.random.default_rng(0).normal(size=samples)
    scores = pd.concat([rows(m, values + shift, cluster=names) for m, shift in (("a", 1), ("b", 2), ("random", 0))])
    found = summarise(scores, described({"a": False, "b": False, "random": True}, gain="higher"))
    assert found["mean"].notna().all()
    said = found.loc[~found["control"], ["low", "high", "rank", "difference_low", "difference_high"]].notna()
    assert (said.to_numpy() == enough).all()
    assert ("no interval, no rank" in few_samples(found)) is not enough


def test_constant_maps_are_in_the_mean_and_counted_apart() -> None:
    scores = rows("cam", [1, 2, 6], status=["ok", "ok", "constant"])
    found = only(summarise(scores, described({"cam": False}, gain="higher")), "cam")
    assert (found["mean"], found["n"], found["constant"]) == (3, 3, 1)


def test_what_is_undefined_or_failed_is_counted_and_not_in_the_mean() -> None:
    scores = rows("cam", [1, 99, 99, 3], status=["ok", "undefined", "error", "ok"])
    found = only(summarise(scores, described({"cam": False}, gain="higher")), "cam")
    assert (found["mean"], found["n"], found["undefined"], found["errors"]) == (2, 2, 1, 1)


def test_a_sample_that_cannot_be_read_is_an_error_in_every_cell() -> None:
    unread = rows("", [np.nan], metric="", column="", status="error", error="damaged", sample=["s9"])
    scores = pd.concat([rows("cam", [1, 2]), rows("cam", [1, 2], metric="loss"), unread])
    found = summarise(scores, described({"cam": False, "other": False}, gain="higher", loss="lower"))
    assert found["errors"].tolist() == [1] * 4


def test_a_method_that_left_no_row_still_has_its_cells() -> None:
    found = summarise(rows("cam", [1, 2]), described({"cam": False, "gone": False}, gain="higher"))
    assert only(found, "gone")["n"] == 0
    assert np.isnan(only(found, "gone")["mean"])


def test_rows_come_in_the_runs_order_with_the_main_column_first() -> None:
    scores = pd.concat([rows("b", [1], column="apart"), rows("b", [1]), rows("a", [1])])
    found = summarise(scores, described({"b": False, "a": False}, gain="higher"))
    assert found[["method", "column"]].to_numpy().tolist() == [["b", "value"], ["b", "apart"], ["a", "value"]]
    assert tuple(found.columns) == SUMMARY_COLUMNS


def test_clusters_of_the_scores_reach_the_interval() -> None:
    random = np.random.default_rng(0)
    values, clusters = np.repeat(random.normal(size=8), 4), np.repeat([f"p{i}" for i in range(8)], 4)
    info = described({"cam": False}, gain="higher")
    naive = only(summarise(rows("cam", values), info), "cam")
    whole = only(summarise(rows("cam", values, cluster=clusters), info), "cam")
    assert whole["high"] - whole["low"] > 1.6 * (naive["high"] - naive["low"])


def test_the_same_scores_in_another_order_give_the_same_means_and_ranks() -> None:
    random = np.random.default_rng(0)
    scores = pd.concat([rows(m, random.normal(size=12)) for m in ("a", "b", "random")])
    info = described({"a": False, "b": False, "random": True}, gain="higher")
    once, again = summarise(scores, info), summarise(scores.copy(), info)
    pd.testing.assert_frame_equal(once, again)
    shuffled = summarise(scores.sample(frac=1, random_state=0), info)
    pd.testing.assert_frame_equal(once[["method", "mean", "n", "rank"]], shuffled[["method", "mean", "n", "rank"]])


def test_no_scores_give_an_empty_summary() -> None:
    nothing = pd.DataFrame(columns=SCHEMAS["scores"].names)
    info = described({"cam": False}, gain="higher")
    assert len(summarise(nothing, info)) == 0
    assert len(conservation_scale(nothing, info)) == 0
    assert len(mean_ranks(summarise(nothing, info))) == 0


def test_the_callers_scores_are_left_as_they_were() -> None:
    scores = rows("cam", [1, 2, np.nan], status=["ok", "ok", "undefined"])
    before = scores.copy()
    summarise(scores, described({"cam": False}, gain="higher"))
    pd.testing.assert_frame_equal(scores, before)


def test_mean_ranks_are_over_the_blocks_that_have_one() -> None:
    here = pd.concat([rows("a", [2, 2]), rows("b", [1, 1])])
    there = pd.concat([rows("a", [1, 1]), rows("b", [2, 2]), rows("c", [3, 3])]).assign(dataset="other")
    info = described({"a": False, "b": False, "c": False}, gain="higher")
    found = mean_ranks(summarise(pd.concat([here, there]), info, fewest=1)).set_index("method")
    assert found["rank"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert found["blocks"].to_dict() == {"a": 2, "b": 2, "c": 1}


def test_the_conservation_scale_is_least_squares() -> None:
    sums, logits = np.array([1.0, 2.0, 4.0]), np.array([2.0, 5.0, 7.0])
    parts = [rows("cam", v, metric="conservation", column=c) for c, v in (("map_sum", sums), ("logit", logits))]
    info = described({"cam": False}, conservation="lower")
    found = conservation_scale(pd.concat(parts), info).iloc[0]
    beta = float(np.linalg.lstsq(sums[:, None], logits)[0][0])
    assert found["beta"] == pytest.approx(beta)
    assert found["residual"] == pytest.approx(np.mean(np.abs(logits - beta * sums) / logits))
    assert found["n"] == 3


def test_a_scaled_map_conserves_exactly_after_its_scale() -> None:
    logits = np.array([2.0, -5.0, 7.0])
    parts = [rows("cam", v, metric="conservation", column=c) for c, v in (("map_sum", logits / 49), ("logit", logits))]
    found = conservation_scale(pd.concat(parts), described({"cam": False}, conservation="lower")).iloc[0]
    assert found["beta"] == pytest.approx(49)
    assert found["residual"] == pytest.approx(0, abs=1e-12)


def test_zero_maps_have_no_scale() -> None:
    parts = [rows("cam", v, metric="conservation", column=c) for c, v in (("map_sum", [0, 0]), ("logit", [1, 2]))]
    assert np.isnan(conservation_scale(pd.concat(parts), described({"cam": False}, conservation="lower"))["beta"][0])


def test_the_size_of_the_quick_suite_takes_seconds() -> None:
    random = np.random.default_rng(0)
    methods = {f"m{i}": i > 12 for i in range(16)} | {"random": True}
    parts = [rows(m, random.random(32), column=f"c{i}") for m in methods for i in range(30)]
    info = described(methods, gain="higher")
    info["metrics"][0]["better"] = {f"c{i}": "higher" for i in range(15)} | {"value": "higher"}
    began = time.process_time()
    summarise(pd.concat(parts), info)
    assert time.process_time() - began < 4
