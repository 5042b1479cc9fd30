"""Verdicts come from the values: plant what a sentence says, its opposite, or nothing, and see the verdict follow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark import check_claims

N = 32
RNG = np.random.default_rng(1)
BASE, NOISE = RNG.normal(0.5, 0.2, N), RNG.normal(0, 0.05, N)
A, B = {"metric": "mass", "method": "a"}, {"metric": "mass", "method": "b"}


def scores(a=None, b=None, model="net", **columns):
    found = {
        (model, "a", "mass", "share"): BASE if a is None else a,
        (model, "b", "mass", "share"): BASE if b is None else b,
    }
    return found | {(model, "a", "mass", name): values for name, values in columns.items()}


def verdicts(run, claims, **keys):
    return check_claims(run, claims, **keys).rows["verdict"].tolist()


@pytest.mark.parametrize(
    ("says", "margin", "shift", "verdict"),
    [
        ("greater", 0.0, 0.1, "supported"),
        ("greater", 0.0, -0.1, "contradicted"),
        ("greater", 0.2, 0.1, "contradicted"),
        ("greater", 0.1, 0.1, "undecided"),
        ("less", 0.0, -0.1, "supported"),
        ("less", 0.0, 0.1, "contradicted"),
        ("equal", 0.05, 0.0, "supported"),
        ("equal", 0.05, 0.1, "contradicted"),
        ("equal", 0.05, -0.05, "undecided"),
        ("not less", 0.05, 0.0, "supported"),
        ("not less", 0.05, -0.1, "contradicted"),
        ("not greater", 0.05, 0.0, "supported"),
        ("not greater", 0.05, 0.1, "contradicted"),
    ],
)
def test_an_order_follows_the_values_and_turns_when_methods_are_swapped(plant, one_claim, says, margin, shift, verdict):
    noise = NOISE - NOISE.mean()
    claims = one_claim(measure=A, against=B, says=says, margin=margin)
    assert verdicts(plant(scores(BASE + shift + noise, BASE)), claims) == [verdict]
    turned = {"greater": "less", "less": "greater", "not less": "not greater", "not greater": "not less"}.get(
        says, says
    )
    swapped = one_claim(measure=B, against=A, says=turned, margin=margin)
    assert verdicts(plant(scores(BASE + shift + noise, BASE)), swapped) == [verdict]


def test_nothing_is_decided_of_values_that_are_shuffled(plant, one_claim):
    values = np.stack([BASE + RNG.normal(0, 0.1, N) + 0.1, BASE])
    names = [f"c{i}" for i in range(10)]
    shuffled = [RNG.permuted(values, axis=0) for _ in names]
    drawn = {
        ("net", m, "mass", c): both[i] for c, both in zip(names, shuffled, strict=True) for i, m in enumerate("ab")
    }
    claims = one_claim()
    of = {"sentence": "s", "reading": "r", "says": "greater"}
    claims["claim"] = [of | {"measure": A | {"column": c}, "against": B | {"column": c}} for c in names]
    assert verdicts(plant(scores() | drawn), claims) == ["undecided"] * 10


def test_agreement_predicts_a_correct_prediction_until_labels_are_permuted(plant, one_claim):
    rng = np.random.default_rng(2)
    right = rng.random(N) < 0.6
    blob = np.exp(-((np.mgrid[:6, :6] - 2.5) ** 2).sum(0) / 4)
    noise = rng.normal(size=(N, 6, 6)) * np.where(right, 0.05, 2)[:, None, None]
    maps = {("net", "a"): np.repeat(blob[None], N, 0), ("net", "b"): blob + noise}
    agreement = {"similarity": "spearman", "methods": ["a", "b"]}
    claims = one_claim(measure=agreement, says="predicts")
    assert verdicts(plant(scores(), maps=maps, right=right), claims) == ["supported"]
    assert verdicts(plant(scores(), maps=maps, right=~right), claims) == ["contradicted"]
    permuted = [verdicts(plant(scores(), maps=maps, right=rng.permutation(right)), claims)[0] for _ in range(8)]
    assert permuted.count("undecided") >= 7
    surer = plant(scores(), maps=maps, right=right, confidence=rng.uniform(0.5, 0.9, N))
    assert verdicts(surer, one_claim(measure=agreement, against={"prediction": "confidence"}, says="predicts")) == [
        "supported"
    ]
    all_right = check_claims(plant(scores(), maps=maps, right=np.full(N, True)), claims).rows.iloc[0]
    assert all_right["why"] == "correct is 1 for all 32 samples: there is nothing to predict"


def test_an_intervention_explains_an_artefact_and_nothing_where_there_is_none(plant, one_claim):
    claims = one_claim(
        measure=A, against=B, says="explains", margin=0.5, changed=A | {"column": "cut"}, changed_against=B
    )
    corner, none = 0.2 + np.abs(NOISE), NOISE - NOISE.mean()
    for artefact, left, verdict in ((corner, 0.2, "supported"), (corner, 0.9, "contradicted"), (none, 0, "undecided")):
        run = plant(scores(BASE + artefact, BASE, cut=BASE + left * artefact))
        found = check_claims(run, claims).rows.iloc[0]
        assert found["verdict"] == verdict
        assert found["difference"] == pytest.approx(1 - left) or verdict == "undecided"
    assert found["why"] == "there is no effect to explain: it is not shown to be above 0"
    assert np.isnan([found[name] for name in ("difference", "low", "high")]).all()


def test_networks_are_paired_by_sample_and_a_row_says_which(plant, one_claim):
    run = plant(scores(model="effnet") | scores(BASE + 0.1 + NOISE, model="vgg") | scores(BASE - 0.1, model="net"))
    pair = one_claim(measure=A | {"model": "vgg19"}, against=A | {"model": "effnet"}, says="greater")
    rows = check_claims(run, pair, {"vgg19": "vgg"}).rows
    assert rows[["model", "verdict", "n"]].to_numpy().tolist() == [["vgg against effnet", "supported", N]]
    rest = check_claims(run, one_claim(measure=A, against=A | {"model": "effnet"}, says="greater")).rows
    assert dict(rest[["model", "verdict"]].to_numpy()) == {
        "vgg against effnet": "supported",
        "net against effnet": "contradicted",
    }
    every = one_claim(measure=A, against=B, says="less", scope={"model": ["vgg", "net"], "dataset": "skin"})
    assert dict(check_claims(run, every).rows[["model", "verdict"]].to_numpy()) == {
        "vgg": "contradicted",
        "net": "supported",
    }
    alone = check_claims(plant(scores()), one_claim(measure=A, against=A | {"model": "net"}, says="less")).rows
    assert alone["why"].tolist() == ["the run has no other model to compare with"]


def test_clusters_are_flipped_whole_and_few_of_them_say_nothing(plant, one_claim):
    claims = one_claim(measure=A, against=B, says="greater")
    values = scores(BASE + 0.1 + NOISE, BASE)
    clustered = check_claims(plant(values, clusters=[f"p{i // 4}" for i in range(N)]), claims).rows.iloc[0]
    single = check_claims(plant(values), claims).rows.iloc[0]
    assert (clustered["n"], clustered["units"], single["units"]) == (N, 8, N)
    assert clustered["p"] == pytest.approx(0.5**8)
    assert single["p"] < 1e-6
    few = check_claims(plant(values, clusters=[f"p{i // 8}" for i in range(N)]), claims).rows.iloc[0]
    assert (few["verdict"], few["why"]) == ("undecided", "too few: 4 clusters; at least 8 are needed")


def test_p_are_corrected_for_all_rows_and_an_open_row_says_how_many_would_decide(plant, one_claim):
    drawn = {f"c{i}": BASE + 0.019 * (i < 2) + NOISE - NOISE.mean() for i in range(10)}
    claims = one_claim()
    of = {"sentence": "s", "reading": "r", "against": {"metric": "mass", "method": "b"}, "says": "greater"}
    claims["claim"] = [of | {"measure": A | {"column": name}} for name in drawn]
    alone = check_claims(plant(scores(**drawn)), claims | {"claim": claims["claim"][:1]}).rows
    many = check_claims(plant(scores(**drawn)), claims).rows
    assert (alone["verdict"][0], many["verdict"][0]) == ("supported", "undecided")
    assert many["p"][0] == pytest.approx(10 * alone["p"][0], rel=1e-9)
    assert (many["why"][0], many["needed"][0] > N) == ("the samples do not tell", True)
    one = BASE + 0.1 + np.where(np.arange(N) == 0, 1e-3, 0)
    (row,) = check_claims(plant(scores(one)), one_claim(measure=A, against=B, says="greater")).rows.to_dict("records")
    assert row["why"] == "the samples do not tell: nearly all values are one, and the rest is unknown"
    assert pd.isna(row["needed"])  # more of the same would not decide


def test_missing_values_are_counted_and_what_is_not_there_is_said_once(plant, one_claim):
    run = plant(scores(np.where(np.arange(N) < 5, np.nan, BASE + 0.1), BASE) | scores(model="vgg"))
    rows = check_claims(run, one_claim(measure=A, against=B, says="greater")).rows
    assert rows[["n", "lost"]].to_numpy().tolist() == [[N - 5, 5], [N, 0]]
    rows = check_claims(run, one_claim(measure=A | {"metric": "pointing-game"}, against=B, says="greater")).rows
    assert rows[["model", "verdict"]].to_numpy().tolist() == [["", "undecided"]]
    assert rows["why"][0].startswith("not measured: the run lacks it: unknown metric 'pointing-game'")
    empty = check_claims(run, one_claim(measure=A, against=B, says="less", scope={"target": "bcc"})).rows
    assert empty["why"].tolist() == ["no sample is in the scope"]
    stopped = {"name": "planted", "until": "separated"}
    until = check_claims(plant(scores(), suite=stopped, status="failed"), one_claim(measure=A, against=B, says="less"))
    assert until.rows["why"][0].startswith("the run stopped judging where its own test had decided")
    assert until.notes[0].startswith("The run is not complete (status: failed)")


@pytest.mark.parametrize(
    ("batch", "verdict"), [(1, "supported"), (3, "supported"), (8, "undecided"), (32, "undecided")]
)
def test_seconds_of_a_batch_count_once(plant, one_claim, batch, verdict):
    """All samples of a batch share its seconds, whatever cluster they are of."""
    took = {("net", "a"): np.repeat(NOISE[: N // batch + 1] - 2, batch)[:N], ("net", "b"): np.zeros(N)}
    run = plant(scores(), seconds=took, clusters=[f"c{i // 2}" for i in range(N)])
    quick = one_claim(
        measure={"cost": "seconds", "method": "a"}, against={"cost": "seconds", "method": "b"}, says="less"
    )
    (row,) = check_claims(run, quick).rows.to_dict("records")
    assert (row["verdict"], row["n"], row["units"]) == (verdict, N, -(-N // batch))
    assert ("batches, each timed as a whole; at least 8" in row["why"]) == (verdict == "undecided")
