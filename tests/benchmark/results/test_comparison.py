"""What a comparison claims is what its samples carry, and what may not be compared is not."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from camfaith.benchmark.results.comparison import compare
from camfaith.benchmark.results.margins import Margins
from camfaith.benchmark.results.paired import paired
from camfaith.benchmark.results.signflip import sign_flip
from camfaith.benchmark.results.verdicts import decide

N = 32


@pytest.mark.parametrize(
    ("shift", "spread", "n", "verdict", "code"),
    [
        (0.0, 0.0, N, "passed", 0),
        (0.0, 0.02, N, "passed", 0),
        (-0.03, 0.02, N, "passed", 0),
        (0.1, 0.02, N, "improved", 0),
        (-0.1, 0.02, N, "regressed", 1),
        (-0.1, 0.0, N, "regressed", 1),
        (0.0, 0.3, N, "inconclusive", 2),
        (-0.04, 0.2, N, "inconclusive", 2),
        (0.0, 0.02, 7, "not comparable", 3),
    ],
)
def test_a_verdict_says_what_the_samples_show(side, noise, shift, spread, n, verdict, code):
    base = noise(n)
    change = spread * (noise(n, seed=1) - noise(n, seed=1).mean()) + shift
    for metric, sign in (("insertion", 1), ("deletion", -1)):  # positive is better, whichever way the metric goes
        found = compare(side({metric: base}), side({metric: base + sign * change}), "5%")
        (row,) = found.rows.to_dict("records")
        assert (row["verdict"], found.verdict, found.exit_code) == (verdict, verdict, code)
        assert row["difference"] == pytest.approx(shift, abs=1e-9)
        assert row["margin"] == pytest.approx(0.05)


def test_the_p_are_those_of_all_flips_of_signs_corrected_by_holm(side, noise):
    base = {metric: noise(10, seed=i) for i, metric in enumerate(("insertion", "road", "deletion"))}
    better = {metric: values + 0.2 * noise(10, seed=9 + i) for i, (metric, values) in enumerate(base.items())}
    found = compare(side(base), side(better), Margins.of(0.05, {"road": 0.2}))
    signs = np.array(list(itertools.product([1, -1], repeat=10)))
    for test, shifted, way in (("p_within", True, 1), ("p_better", False, 1), ("p_worse", False, -1)):
        raw = []
        for metric, margin in (("insertion", 0.05), ("road", 0.2), ("deletion", 0.05)):
            delta = (better[metric] - base[metric]) * (-1 if metric == "deletion" else 1) + shifted * margin
            raw.append(float((signs @ (way * delta) >= (way * delta).sum() - 1e-12).mean()))
        order, adjusted, most = np.argsort(raw), np.zeros(3), 0.0
        for rank, at in enumerate(order):
            most = max(most, min(1.0, (3 - rank) * raw[at]))
            adjusted[at] = most
        assert found.rows[test].to_numpy() == pytest.approx(adjusted)


def test_one_method_with_another_seed_regresses_no_more_often_than_declared(noise):
    tables, metrics = 200, 6
    delta = noise(tables * metrics, N) - noise(tables * metrics, N, seed=1)
    shown, within = paired(delta), sign_flip(delta + 0.1).greater
    wrong = 0
    for table in range(tables):
        rows = [
            {"differs": "", "lost": 0, "n": N, "units": N, "equal": "", "margin": 0.1, "difference": shown.mean[at]}
            | {"deviation": shown.deviation[at], "p_within": within[at]}
            | {"p_better": shown.greater[at], "p_worse": shown.less[at]}
            for at in range(table * metrics, (table + 1) * metrics)
        ]
        decide(rows, 0.05)
        wrong += any(row["verdict"] == "regressed" for row in rows)
    assert 1 <= wrong <= 19  # 10 at most, and three standard deviations


@pytest.mark.parametrize("shift", [0.0, -0.2])
def test_so_many_samples_as_are_said_to_be_needed_decide_four_times_out_of_five(side, noise, shift):
    base, change = noise(N), noise(N, seed=3)
    change += shift - change.mean()
    found = compare(side({"road": base}), side({"road": base + change}), 0.25)
    (row,) = found.rows.to_dict("records")
    assert row["verdict"] == "inconclusive"
    later = shift + change.std(ddof=1) * noise(1000, int(row["needed"]), seed=4)
    p = sign_flip(later).less if shift else sign_flip(later + 0.25).greater
    assert 0.76 < (p <= 0.05).mean() < 0.84


def test_samples_of_one_cluster_are_one(side, noise):
    base = np.repeat(noise(10), 8)
    change = np.repeat(0.05 * noise(10, seed=2), 8)
    clusters = [f"patient {i // 8}" for i in range(80)]
    alone = compare(side({"road": base}), side({"road": base + change}), 0.03).rows.iloc[0]
    (row,) = compare(side({"road": base}, clusters), side({"road": base + change}, clusters), 0.03).rows.to_dict(
        "records"
    )
    assert (row["n"], row["units"]) == (80, 10)
    assert row["high"] - row["low"] > 2 * (alone["high"] - alone["low"])
    few = [f"patient {i // 16}" for i in range(80)]
    found = compare(side({"road": base}, few), side({"road": base}, few), 0.03)
    assert (found.verdict, found.rows["why"][0]) == (
        "not comparable",
        "5 common samples or clusters; at least 8 are needed",
    )


@pytest.mark.parametrize(("missing", "verdict"), [(1, "passed"), (2, "regressed"), (N, "regressed")])
def test_values_that_are_newly_missing_are_told_and_many_are_a_regression(side, noise, missing, verdict):
    base = noise(N)
    candidate = np.where(np.arange(N) < missing, np.nan, base)
    found = compare(side({"road": base}), side({"road": candidate}))
    assert (found.verdict, found.rows["lost"][0], found.rows["n"][0]) == (verdict, missing, N - missing)
    assert any(f"{missing} values of the base are missing in the candidate (undefined" in note for note in found.notes)
    turned = compare(side({"road": candidate}), side({"road": base}))
    assert turned.rows["gained"][0] == missing
    assert turned.verdict == ("not comparable" if missing == N else "passed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models__tiny__weights_sha256": "cd"}, "model tiny: weights_sha256 is ab in the base, cd in the candidate"),
        ({"models__tiny__head": "sigmoid"}, "head is softmax in the base, sigmoid"),
        ({"models__tiny__mean": [0.4]}, "mean is [0.5] in the base, [0.4]"),
        ({"models__tiny__classes": ["a", "c"]}, "classes is ['a', 'b'] in the base, ['a', 'c']"),
        ({"made__until": "separated"}, "the candidate is a run until all is separated"),
        ({"made__target": "label"}, "the class that is explained is predicted in the base, label"),
        ({"samples__digest": "other"}, "content (digest) is ds000 in the base, other in the candidate (32 of 32"),
        ({"samples__target": 0}, "explained class is 1 in the base, 0"),
        ({"samples__logit": 2.7}, "logit of the explained class is 2.5 in the base, 2.7"),
        ({"samples__dataset": "other"}, "no model on a data set is in both: tiny on data in the base, tiny on other"),
        (
            {"samples__sample": [f"x{i}" for i in range(N)]},
            "no sample is in both: 32 with s000 the first in the base, 32",
        ),
        ({"metrics__road__version": "2"}, "metric road: version is 1 in the base, 2"),
        ({"metrics__road__parameters": {"steps": 8}, "metrics__road__key": "k"}, "parameters is {'steps': 16} in the"),
        (
            {"metrics__road__key": "k", "made__versions": {"camfaith": "0.2.0", "torch": "2.6.0"}},
            "metric road: its source is key-road (camfaith 0.1.0) in the base, k (camfaith 0.2.0) in the candidate",
        ),
    ],
)
def test_what_differs_and_must_not_is_named_with_what_to_do(side, noise, change, said):
    values = {"road": noise(N)}
    found = compare(side(values), side(values, **change))
    assert (found.verdict, found.exit_code) == ("not comparable", 3)
    assert any(said in line for line in found.differing)
    assert "camfaith baseline RUN baselines/cam.parquet --method cam" in found.differing[-1]
    told = json.loads(found.to_json())
    assert (told["verdict"], told["differing"]) == ("not comparable", list(found.differing))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"made__versions": {"camfaith": "0.2.0", "torch": "2.6.0"}}, "camfaith is 0.1.0 in the base, 0.2.0"),
        ({"made__device": "cuda"}, "the device is cpu in the base, cuda"),
        ({"made__seed": 1}, "the seed is 0 in the base, 1"),
        ({"method__layers": {"tiny": "stem"}}, "the layer of the method in tiny is body in the base, stem"),
        ({"made__status": "stopped"}, "a run that is not complete: stopped"),
        ({"metrics__road__label": "another name"}, "the same method"),
    ],
)
def test_what_differs_and_may_is_told(side, noise, change, said):
    values = {"road": noise(N)}
    found = compare(side(values), side(values, **change))
    assert found.verdict == "passed"
    assert any(said in note for note in found.notes), found.notes


def test_metrics_and_samples_of_one_side_are_told(side, noise):
    found = compare(side({"road": noise(N), "deletion": noise(N)}), side({"road": noise(N)[:20]}))
    assert list(found.rows["metric"]) == ["road"]
    assert found.rows["n"][0] == 20
    assert "The candidate lacks metrics: deletion." in found.notes
    assert any("the candidate lacks 12 of 32 samples, the first s020" in note for note in found.notes)


@pytest.mark.parametrize(
    ("base", "candidate", "margins", "verdict"),
    [
        (1.0, 1.0, "5%", "passed"),
        (2.0, 1.0, "5%", "passed"),
        (1.0, 1.5, "5%", "regressed"),
        (1.0, 1.5, "calls", "passed"),
        (0.0, 0.5, "calls", "regressed"),
        (np.nan, 9.0, "5%", "passed"),
    ],
)
def test_calls_are_exact_and_any_rise_beyond_the_margin_counts(side, noise, base, candidate, margins, verdict):
    values = {"road": noise(N)}
    one, other = (side(values, samples__backwards=count) for count in (base, candidate))
    found = compare(one, other, Margins.of("5%", {"calls": 2}) if margins == "calls" else margins)
    assert found.verdict == verdict
    assert list(found.rows["verdict"]) == ["passed"]


def test_margins_are_shares_of_what_there_is_to_win_or_absolute(side, noise):
    values = {"road": noise(N)}
    none = compare(side(values, reach=None), side({"road": noise(N) + 0.001}))
    assert none.verdict == "not comparable"
    assert "judge random in it, or give an absolute margin" in none.rows["why"][0]
    assert compare(side(values, reach=None), side({"road": noise(N) + 0.001}), 0.02).verdict == "improved"
    # what the base itself is ahead of random, 0.4, is what may be lost by half at most
    assert compare(side(values, reach=20.0), side(values)).rows["margin"][0] == pytest.approx(0.2)
    wide = compare(side(values), side({"road": noise(N) + 0.001}), 0.3)
    assert any("more than half of the base's lead" in note for note in wide.notes)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"margins": 0}, "must be greater than 0, got '0'.*use --exact"),
        ({"margins": "-1%"}, "must be greater than 0"),
        ({"margins": "nan"}, "must be greater than 0"),
        ({"margins": "100%"}, "less than 100%"),
        ({"margins": "wide"}, "is a number .0.02. or a share .5%.; got 'wide'"),
        ({"margins": Margins.of(own={"raod": 0.1})}, "no metric 'raod'; it has road"),
        ({"metrics": ["raod"]}, "no metric 'raod'; it has road"),
        ({"metrics": ["road:aux"]}, "no column 'aux'; it has auc"),
        ({"metrics": ["deletion:ties"]}, "deletion:ties has no direction"),
        ({"methods": ["mycam"]}, "no method 'mycam'; it has cam; two methods of different names"),
        ({"methods": ["cam=mycam"]}, "no method 'mycam'; it has cam$"),
        ({"level": 0.7}, "level must lie between 0 and 0.5"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_computed(side, noise, asked, said):
    values = {"road": noise(N), "deletion": noise(N)}
    with pytest.raises(ValueError, match=said):
        compare(side(values), side(values), **asked)


def test_the_words_of_the_command_line_are_margins():
    found = Margins.read(["2%", "deletion(steps=4)=0.02", "deletion:ties=1%", "calls=1.5"])
    assert found.for_column("road", "auc") == found.default
    assert str(found.for_column("deletion(steps=4)", "auc")) == "0.02"
    assert str(found.for_column("deletion", "ties")) == "1 %"
    assert found.calls == 1.5
    for words, said in ((["1%", "2%"], "2 margins without a metric"), (["calls=0.5"], "at least 1")):
        with pytest.raises(ValueError, match=said):
            Margins.read(words)


def test_a_metric_that_only_describes_is_not_compared_and_that_is_told(side, noise):
    values, told = {"road": noise(N), "deletion": noise(N)}, "not compared, since no value of it is better: road auc"
    describing = side(values, metrics__road__better={})
    found = compare(describing, describing)
    assert found.rows["metric"].tolist() == ["deletion"]
    assert told in found.notes
    assert told not in compare(describing, describing, metrics=["deletion"]).notes
    alone = side({"road": values["road"]}, metrics__road__better={})
    none = compare(alone, alone)
    assert (none.verdict, none.notes[0]) == ("not comparable", told)
