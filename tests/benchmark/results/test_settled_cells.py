"""Scores become cells that are settled or not, and a table of who leads whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from camfaith.benchmark.results.sequential import SEPARATION_COLUMNS, arrivals, capital, intervals, separations, settled


def table(**metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Scores in long form, sample by sample: per metric the values of each method."""
    parts = []
    for metric, methods in metrics.items():
        for method, values in methods.items():
            frame = pd.DataFrame({"value": np.asarray(values, float)})
            frame = frame.assign(sample=[f"s{i}" for i in frame.index], place=frame.index)
            parts.append(frame.assign(method=method, metric=metric))
    return pd.concat(parts, ignore_index=True).sort_values("place", kind="stable", ignore_index=True)


def until(scores: pd.DataFrame, images: int) -> pd.DataFrame:
    return scores[scores["place"] < images]


def field(images: int = 240, seed: int = 1) -> pd.DataFrame:
    """Four methods: one far ahead, one far behind, two alike."""
    random = np.random.default_rng(seed)
    ease = random.uniform(-0.1, 0.1, images)
    middles = {"best": 0.85, "alike": 0.5, "twin": 0.5, "worst": 0.15}
    return table(auc={m: middle + ease + 0.03 * random.standard_normal(images) for m, middle in middles.items()})


def ahead_of(scores: pd.DataFrame, metrics: Sequence[str], level: float) -> Any:
    return separations(scores, dict.fromkeys(metrics, "higher"), level)["ahead"]


def undefined(scores: pd.DataFrame, *methods: str) -> pd.DataFrame:
    return scores.assign(value=scores["value"].mask(scores["method"].isin(methods)))


# What is tested


def test_only_main_columns_of_methods_arrive_in_their_order() -> None:
    rows = [("b", "", "", ""), ("b", "cam", "auc", "auc"), ("a", "cam", "auc", "auc"), ("a", "cam", "auc", "end")]
    rows += [("a", "cam", "diagnostics", "share"), ("a", "cam", "hit", "end")]
    scores = pd.DataFrame(rows, columns=["sample", "method", "metric", "column"]).assign(cluster=None)
    found = arrivals(scores, {"auc": "auc", "hit": "end"})
    assert found.index.tolist() == [1, 2, 5]
    assert arrivals(scores.head(0), {"auc": "auc"}).empty


def test_of_a_cluster_only_the_first_sample_arrives_and_samples_without_one_do_all() -> None:
    rows = [("s0", "x"), ("s1", None), ("s2", "x"), ("s3", "y"), ("s4", None), ("s5", "y"), ("s0", "x")]
    scores = pd.DataFrame(rows, columns=["sample", "cluster"]).assign(method="cam", metric="auc", column="auc")
    assert arrivals(scores, {"auc": "auc"})["sample"].tolist() == ["s0", "s1", "s3", "s4", "s0"]


# Leads


def test_any_lead_among_six_equal_methods_on_two_metrics_is_no_more_frequent_than_said() -> None:
    random, level, runs, false = np.random.default_rng(0), 0.2, 100, 0
    frame = table(**{metric: {f"m{k}": np.zeros(32) for k in range(6)} for metric in ("auc", "hit")})
    for _ in range(runs):
        ease = random.uniform(size=(32, 1))
        auc, hit = random.beta(0.5 + 4 * ease, 0.5, (32, 6)), (random.random((32, 6)) < ease).astype(float)
        scores = frame.assign(value=np.concatenate([auc, hit], 1).ravel())
        false += (ahead_of(scores, ["auc", "hit"], level) != "open").any()
    assert false <= binom.ppf(0.999, runs, level)


def test_pairs_and_metrics_share_the_level() -> None:
    """Three unbroken rows of wins settle with the image with which the capital reaches 2 × family / (level × 3)."""
    scores = table(hit={"a": np.ones(40), "b": np.zeros(40), "c": np.full(40, 2.0)}, other={"a": [0.0]})
    ones = capital(np.ones((40, 1)))[:, 0]
    for metrics, family in ((["hit"], 3), (["hit", "other"], 6)):
        found = separations(scores, dict.fromkeys(metrics, "higher"), 0.01)
        expected = int(np.argmax(ones >= 2 * family / (0.01 * 3))) + 1
        assert set(found.loc[found["metric"] == "hit", "images"]) == {expected}


@pytest.mark.parametrize("lead", [0.0, 0.3, -0.4])
def test_of_a_pair_alone_a_lead_is_settled_exactly_when_its_interval_leaves_zero_out(lead: float) -> None:
    drawn = np.random.default_rng(0).choice([1, 0, -1], (60, 30), p=[0.4 + lead / 2, 0.2, 0.4 - lead / 2])
    scores = [table(auc={"a": drawn[:, k], "b": np.zeros(60)}) for k in range(30)]
    rows = pd.concat([separations(each, {"auc": "higher"}, 0.01) for each in scores])
    assert ((rows["ahead"] == "first") == (rows["low"] > 1e-6)).all()
    assert ((rows["ahead"] == "second") == (rows["high"] < -1e-6)).all()
    assert (rows["ahead"] == "open").any()


# Cells


def test_methods_whose_scores_are_the_same_hold_up_each_other_and_nobody_else() -> None:
    scores = field()
    twin = scores["method"] == "twin"
    scores.loc[twin, "value"] = scores.loc[scores["method"] == "alike", "value"].to_numpy()
    assert settled(scores, ["auc"], 0.05) == {("best", "auc"), ("worst", "auc")}
    assert len(settled(scores, ["auc"], 0.05, margin=0.1)) == 4


def test_differences_by_rounding_are_no_lead() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.8, 200)
    scores = table(auc={"a": values, "b": values * (1 + 1e-6)})
    assert ahead_of(scores, ["auc"], 0.05)[0] == "open"


def test_a_method_without_scores_on_a_metric_holds_up_nobody_and_goes_with_the_last_of_the_others() -> None:
    assert settled(undefined(field(), "twin"), ["auc"], 0.05) == {(m, "auc") for m in field()["method"]}
    early = undefined(until(field(), 6), "twin")
    assert settled(early, ["auc"], 0.05) == set()
    alike = undefined(field(), "worst")
    assert settled(alike, ["auc"], 0.05) == {("best", "auc")}


@pytest.mark.parametrize("absent", [("best", "alike", "twin", "worst"), ("alike", "twin", "worst")])
def test_a_metric_on_which_no_two_methods_meet_waits_for_the_last_cell_of_all(absent: tuple[str, ...]) -> None:
    hit = undefined(field(), *absent).assign(metric="hit")
    waiting = pd.concat([field(), hit])
    assert settled(waiting, ["auc", "hit"], 0.05) == {("best", "auc"), ("worst", "auc")}
    over = waiting[waiting["method"] != "twin"]
    assert len(settled(over, ["auc", "hit"], 0.05)) == 2 * 3
    assert settled(hit, ["hit"], 0.05) == set()


def test_metrics_that_are_not_asked_and_lone_methods_never_settle() -> None:
    assert settled(field(), [], 0.05) == set()
    assert settled(table(auc={"a": np.ones(99)}), ["auc"], 0.05) == set()
    assert settled(field(0), ["auc"], 0.05) == set()


@pytest.mark.parametrize("absent", ["nobody", "twin"])
def test_a_run_that_drops_settled_cells_decides_the_same_when_its_scores_are_read_again(absent: str) -> None:
    scores = undefined(field(), absent)
    kept, dropped = until(scores, 0), set[tuple[str, str]]()
    for start in range(0, 240, 16):
        chunk = scores[(scores["place"] >= start) & (scores["place"] < start + 16)]
        kept = pd.concat([kept, chunk[~chunk["method"].isin([method for method, _ in dropped])]])
        assert settled(kept, ["auc"], 0.05) >= dropped
        dropped = settled(kept, ["auc"], 0.05)
    assert dropped == settled(scores, ["auc"], 0.05)
    assert len(kept) < len(scores)
    there, again = (separations(s, {"auc": "lower"}, 0.05) for s in (scores, kept))
    assert (
        there[["ahead", "images"]].query("ahead != 'open'").equals(again[["ahead", "images"]].query("ahead != 'open'"))
    )


# The table


def test_the_table_names_the_better_method_and_bounds_how_much_more_often_it_is() -> None:
    wins = np.tile([1.0, 1.0, 1.0, 0.0, -1.0], 60)
    scores = table(gap={"a": 1e9 * wins, "b": np.zeros(300)})
    for better, ahead, sign in (("higher", "first", 1), ("lower", "second", -1)):
        (row,) = separations(scores, {"gap": better}, 0.05).to_dict("records")
        assert (row["metric"], row["first"], row["second"], row["ahead"]) == ("gap", "a", "b", ahead)
        low, high = sorted((sign * row["low"], sign * row["high"]))
        assert 0 < low < 0.4 < high < 1


def test_intervals_have_the_level_times_the_share_of_pairs_that_are_decided() -> None:
    scores = field(64)
    found = separations(scores, {"auc": "higher"}, 0.05)
    decided = int((found["ahead"] != "open").sum())
    assert decided == 5, "all but the two that are alike"
    held = found[found["ahead"] == "open"]
    assert held[["first", "second", "images"]].to_numpy().tolist() == [["alike", "twin", 64]]
    assert settled(scores, ["auc"], 0.05) == {("best", "auc"), ("worst", "auc")}
    for row in found.to_dict("records"):
        one, other = (scores.loc[scores["method"] == row[side], "value"].to_numpy() for side in ("first", "second"))
        signs = np.sign(one - other)[: row["images"]]
        tally = np.array([[(signs == d).sum()] for d in (1.0, 0.0, -1.0)])
        assert (row["low"], row["high"]) == intervals(tally, 0.05 * decided / 6)


def test_a_table_of_nothing_has_its_columns() -> None:
    for scores, better in ((field(), {}), (field(0), {"auc": "higher"})):
        found = separations(scores, better, 0.05)
        assert found.empty
        assert tuple(found.columns) == SEPARATION_COLUMNS
