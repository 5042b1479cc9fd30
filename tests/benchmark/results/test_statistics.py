"""Means, intervals, ranks and paired differences are right, and missing values are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from camfaith.benchmark.results.sequential import separations
from camfaith.benchmark.results.signflip import sign_flip
from camfaith.benchmark.results.statistics import SUMMARY_COLUMNS, conservation_scale, few_samples, summarise
from camfaith.benchmark.results.tables import SCHEMAS

NOISE = np.random.default_rng(5).normal(size=12)


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


def test_the_difference_is_of_common_images_and_there_is_none_without_a_random_control_or_a_direction() -> None:
    scores = pd.concat([rows("cam", [1, 2]), rows("cam", [1, 2], column="note"), rows("random", [0, 1])])
    without = summarise(scores, described({"cam": False, "random": False}, gain="higher"))
    assert without["difference"].isna().all()
    found = summarise(scores, described({"cam": False, "random": True}, gain="higher"))
    assert np.isnan(only(found, "cam", column="note")["difference"])
    assert np.isnan(only(found, "random")["difference"])
    scores = pd.concat([rows("cam", [1, 2, np.nan, 4]), rows("random", [0, np.nan, 0, 0])])
    common = only(summarise(scores, described({"cam": False, "random": True}, gain="higher")), "cam")
    assert (common["n"], common["difference"]) == (3, 2.5)


def test_ranks_follow_the_direction_and_leave_controls_and_what_has_no_value_out() -> None:
    values = {"good": 3, "bad": 1, "fair": 2, "random": 9}
    scores = pd.concat([rows(m, v + NOISE, metric=metric) for m, v in values.items() for metric in ("gain", "loss")])
    scores = pd.concat([scores, rows("lost", [np.nan] * 2, status="error", error="no")])
    before, info = scores.copy(), described({m: m == "random" for m in (*values, "lost")}, gain="higher", loss="lower")
    found = summarise(scores, info)
    pd.testing.assert_frame_equal(scores, before)
    shuffled = summarise(scores.sample(frac=1, random_state=0), info)
    pd.testing.assert_frame_equal(found[["method", "mean", "n", "rank"]], shuffled[["method", "mean", "n", "rank"]])
    assert (only(found, "lost")["errors"], np.isnan(only(found, "lost")["rank"])) == (2, True)
    assert [only(found, m)["rank"] for m in ("good", "fair", "bad")] == [1, 2, 3]
    assert [only(found, m, "loss")["rank"] for m in ("good", "fair", "bad")] == [3, 2, 1]
    assert np.isnan(only(found, "random")["rank"])
    assert found.loc[found["best"], "method"].tolist() == ["good", "bad"]


def test_methods_that_are_not_shown_to_differ_share_a_rank_and_the_bold() -> None:
    random = np.random.default_rng(0)
    values = {"a": NOISE, "b": NOISE + 1e-6, "c": NOISE + 0.02 * random.normal(size=12), "d": NOISE - 1}
    scores = pd.concat([rows(m, 5 + v) for m, v in values.items()])
    found = summarise(scores, described(dict.fromkeys(values, False), gain="higher"))
    assert [only(found, m)["rank"] for m in "abcd"] == [1, 1, 1, 4]
    assert found["best"].tolist() == [True, True, True, False]
    without = summarise(scores[scores["method"] != "d"], described(dict.fromkeys("abc", False), gain="higher"))
    assert without["rank"].tolist() == [1, 1, 1]
    assert not without["best"].any()


def test_a_method_that_leaves_out_the_hard_half_is_judged_on_what_it_shares() -> None:
    hard = np.repeat([0.0, -10.0], 10)
    whole = hard + np.tile(NOISE[:10], 2)
    easy = np.where(hard < 0, np.nan, whole - 0.5)
    found = summarise(
        pd.concat([rows("a", whole), rows("b", easy)]), described({"a": False, "b": False}, gain="higher")
    )
    assert only(found, "b")["mean"] > only(found, "a")["mean"] + 4
    assert [only(found, m)["rank"] for m in "ab"] == [1, 2]
    assert only(found, "a")["best"]
    assert not only(found, "b")["best"]


def test_skill_is_the_share_of_the_way_from_random_to_the_best_map() -> None:
    random = np.random.default_rng(0)
    base, way = random.normal(size=40), 1 + 0.1 * random.normal(size=40)
    values = {"cam": base - 0.25 * way, "oracle": base - way, "worse": base + way, "random": base}
    scores = pd.concat([rows(m, v) for m, v in values.items()])
    info = described({"cam": False, "worse": False, "oracle": True, "random": True}, gain="lower")
    found = summarise(scores, info).set_index("method")
    assert found["skill"].to_dict() == pytest.approx({"cam": 0.25, "oracle": 1, "worse": -1, "random": 0})
    noisy = summarise(
        pd.concat([rows("cam", values["cam"] + 0.1 * random.normal(size=40)), scores[scores["method"] != "cam"]]), info
    )
    assert 0.02 < (noisy["skill_high"] - noisy["skill_low"])[0] < 0.1
    nothing = summarise(scores[scores["method"].isin(["worse", "random"])], info)
    assert nothing["skill"].isna().all()


def test_p_is_corrected_for_all_methods_and_metrics_of_the_table() -> None:
    random = np.random.default_rng(1)
    base = random.normal(size=16)
    own = {m: base + 0.6 * random.normal(size=16) + 0.3 for m in "abcd"}
    metrics = ("gain", "loss", "third")
    parts = [rows(m, v + place, metric=metric) for m, v in own.items() for place, metric in enumerate(metrics)]
    parts += [rows("random", base + place, metric=metric) for place, metric in enumerate(metrics)]
    info = described({**dict.fromkeys("abcd", False), "random": True}, gain="higher", loss="lower", third="higher")
    found = summarise(pd.concat(parts), info)
    raw = permutation_test((own["a"] - base,), np.mean, permutation_type="samples", n_resamples=np.inf)
    alone = summarise(
        pd.concat([rows("a", own["a"]), rows("random", base)]), described({"a": False, "random": True}, gain="higher")
    )
    assert only(alone, "a")["p"] == pytest.approx(raw.pvalue, rel=0.05)
    of = {(m, metric): sign_flip(own[m] - base) for m in own for metric in metrics}
    expected = multipletests([min(1, 2 * min(t.greater[0], t.less[0])) for t in of.values()], method="holm")[1]
    assert [only(found, *key)["p"] for key in of] == pytest.approx(list(expected))


@pytest.mark.parametrize(
    ("samples", "clusters", "enough"), [(1, 1, False), (7, 7, False), (8, 8, True), (24, 7, False)]
)
def test_below_eight_samples_or_clusters_there_is_a_mean_and_nothing_more(
    samples: int, clusters: int, enough: bool
) -> None:
    names = [f"p{i % clusters}" for i in range(samples)] if clusters < samples else None
    values = np.random.default_rng(0).normal(size=samples)
    scores = pd.concat([rows(m, values + shift, cluster=names) for m, shift in (("a", 1), ("b", 2), ("random", 0))])
    scores["value"] += 0.1 * np.random.default_rng(1).normal(size=len(scores))
    found = summarise(scores, described({"a": False, "b": False, "random": True}, gain="higher"))
    assert found["mean"].notna().all()
    said = found.loc[~found["control"], ["low", "high", "rank", "difference_low", "difference_high", "p"]].notna()
    assert (said.to_numpy() == enough).all()
    assert (found["units"] == clusters).all()
    assert ("n too small" in few_samples(found)[0]) is not enough


def test_what_is_not_ok_is_counted_and_only_constant_maps_are_in_the_mean() -> None:
    scores = rows("cam", [1, 99, 99, 3, 5], status=["ok", "undefined", "error", "ok", "constant"])
    found = summarise(scores, described({"cam": False, "gone": False}, gain="higher"))
    counts = ["mean", "n", "constant", "undefined", "errors"]
    np.testing.assert_equal(found[counts].to_numpy(float), [[3, 3, 1, 1, 1], [np.nan, 0, 0, 0, 0]])


def test_a_sample_that_cannot_be_read_is_an_error_in_every_cell() -> None:
    unread = rows("", [np.nan], metric="", column="", status="error", error="damaged", sample=["s9"])
    scores = pd.concat([rows("cam", [1, 2]), rows("cam", [1, 2], metric="loss"), unread])
    found = summarise(scores, described({"cam": False, "other": False}, gain="higher", loss="lower"))
    assert found["errors"].tolist() == [1] * 4


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


def test_no_scores_give_an_empty_summary() -> None:
    nothing = pd.DataFrame(columns=SCHEMAS["scores"].names)
    info = described({"cam": False}, gain="higher")
    assert len(summarise(nothing, info)) == 0
    assert len(conservation_scale(nothing, info)) == 0


@pytest.mark.parametrize(
    ("sums", "logits"), [([1, 2, 4], [2, -5, 7]), ([2 / 49, -5 / 49, 7 / 49], [2, -5, 7]), ([0, 0], [1, 2])]
)
def test_the_conservation_scale_is_least_squares(sums: list[float], logits: list[float]) -> None:
    parts = [rows("cam", v, metric="conservation", column=c) for c, v in (("map_sum", sums), ("logit", logits))]
    found = conservation_scale(pd.concat(parts), described({"cam": False}, conservation="lower")).iloc[0]
    beta = float(np.linalg.lstsq(np.array(sums)[:, None], logits)[0][0]) if any(sums) else np.nan
    assert found["beta"] == pytest.approx(beta, nan_ok=True)
    if any(sums):
        left = np.abs(logits - beta * np.array(sums)) / np.abs(logits)
        assert (found["residual"], found["n"]) == (pytest.approx(left.mean(), abs=1e-12), len(sums))


def test_a_run_until_separated_claims_what_its_sequential_test_does() -> None:
    random = np.random.default_rng(0)
    ranked = 0
    for _ in range(12):
        base = random.normal(size=48)
        values = {m: base + shift + random.standard_t(3, size=48) for m, shift in (("a", 2), ("b", 0.3), ("c", 0))}
        values["b"][random.integers(48, size=2)] += 80  # one mean is the best by two images
        scores = pd.concat([rows(m, v) for m, v in {**values, "random": base - 1}.items()])
        info = described({"a": False, "b": False, "c": False, "random": True}, gain="higher")
        info["suite"] = {"until": "separated", "level": 0.05, "margin": 0.0}
        found = summarise(scores, info).set_index("method")
        told = separations(scores, {"gain": "higher"}, 0.05)
        other = {"first": "second", "second": "first"}
        won = {(r[r["ahead"]], r[other[r["ahead"]]]) for r in told.to_dict("records") if r["ahead"] != "open"}
        for method in "abc":
            assert found.loc[method, "above_random"] == ((method, "random") in won)
            assert found.loc[method, "rank"] == 1 + sum((m, method) in won for m in "abc")
        ranked += {("a", "b"), ("a", "c")} <= won
        assert found["best"].any() == (found["rank"].max() > 1)
        assert found["p"].isna().all()
        assert found.loc["random", "above_random"] is None
    assert ranked > 3
