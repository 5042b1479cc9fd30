"""A run until all is separated judges what is open, and nothing else; it ends with what a full run would have said."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark import datasets, load, run
from camfaith.benchmark.results.sequential import SEPARATION_COLUMNS, arrivals, settled
from camfaith.benchmark.running import settling
from camfaith.models import Classifier
from camfaith.models.speed.counting import counting as tallied

MAIN = {"deletion": "auc", "energy-pointing-game": "mass"}
IMAGES, CHUNK, LEVEL = 24, 4, 0.1


@pytest.fixture
def model(counting):
    return Classifier(counting.inner, name="tiny")


@pytest.fixture
def suite(small_suite):
    small_suite["suite"] |= {
        "methods": ["gradcam", "random", "center-gaussian", "sobel", "oracle"],
        "metrics": [{"name": "deletion", "steps": 4}, "energy-pointing-game"],
        "until": "separated",
        "level": LEVEL,
        "chunk": CHUNK,
    }
    small_suite["dataset"] = [{"name": "fundus", "samples": IMAGES, "size": 32}]
    return small_suite


@pytest.fixture
def separated(suite, model, copy_of):
    return load(copy_of("run", lambda folder: run(suite, models=[model], out=folder)))


@pytest.fixture
def undropped(suite, model, copy_of, monkeypatch):
    """The same run in the same order, but for that nothing is ever dropped."""
    with monkeypatch.context() as changed:
        changed.setattr(settling, "settled", lambda *_: set())
        return load(copy_of("undropped", lambda folder: run(suite, models=[model], out=folder)))


@pytest.fixture
def decisive(suite):
    """Two methods that soon separate on the one metric."""
    suite["suite"] |= {"methods": ["center-gaussian", "random"], "metrics": [{"name": "deletion", "steps": 4}]}
    return suite


def images(result):
    """How many images each cell was judged on."""
    found = arrivals(result.scores, MAIN).groupby(["method", "metric"])["sample"].nunique()
    return dict(zip(found.index, found, strict=True))


def first(scores, count):
    return scores[scores["sample"].isin(scores["sample"].unique()[:count])]


def unstopped(result):
    """Everything about scores but what differs from run to run."""
    return result.scores.drop(columns=["run", "seconds"])


def accounted(cost):
    return sum(cost[what] for what in ("forwards", "shared", "failed", "spared", "settled"))


def test_settled_cells_are_dropped_with_the_part_that_settles_them_and_no_sooner(separated):
    judged, seen = images(separated), arrivals(separated.scores, MAIN)
    assert min(judged.values()) < max(judged.values())
    for cell, count in judged.items():
        enough, fewer = (settled(first(seen, n), list(MAIN), LEVEL, 0.0, IMAGES) for n in (count, count - CHUNK))
        assert cell not in fewer
        assert cell in enough


def test_a_run_that_drops_cells_leads_no_one_that_the_full_run_does_not(separated, undropped):
    found, full = separated.separations(), undropped.separations()
    assert set(images(undropped).values()) == {IMAGES}
    declared = (found["ahead"] != "open").to_numpy()
    pd.testing.assert_series_equal(found["ahead"][declared], full["ahead"][declared])
    assert (found["images"] <= IMAGES).all()
    assert {"first", "second", "open"} <= set(found["ahead"])


def test_what_the_images_will_hardly_settle_is_given_up_before_the_end(separated, undropped):
    waiting = settled(arrivals(undropped.scores, MAIN), list(MAIN), LEVEL)
    assert {cell for cell, count in images(separated).items() if count < IMAGES} - waiting


def test_cells_that_are_judged_have_the_scores_of_a_run_of_all_and_the_others_balance_the_plan(
    separated, suite, model, tmp_path
):
    assert separated.info["cost"]["settled"] > 0
    assert accounted(separated.info["cost"]) == separated.info["plan"]["forwards"]
    full = run(suite, models=[model], out=tmp_path / "full", until="all")
    keys = ["sample", "method", "metric", "column"]
    both = separated.scores.merge(full.scores, on=keys, how="left", suffixes=("", "_full"))
    assert len(both) == len(separated.scores) < len(full.scores)
    np.testing.assert_allclose(both["value"], both["value_full"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lost", [2, 5])
def test_a_run_that_lost_its_last_parts_goes_on_to_the_same_scores(separated, suite, model, lost):
    assert len(separated.scores)  # read before anything is lost
    for lost_part in separated.parts[-lost:]:
        shutil.rmtree(lost_part.path)
    after = run(suite, models=[model], out=separated.path)
    pd.testing.assert_frame_equal(unstopped(after), unstopped(separated))
    pd.testing.assert_frame_equal(after.separations(), separated.separations())


def test_samples_come_in_random_order_and_a_limit_takes_the_first_of_it(decisive, model, tmp_path):
    decisive["dataset"] = [{"name": "fundus", "limit": IMAGES, "size": 32}]
    found = run(decisive, models=[model], out=tmp_path / "run").pictures["sample"].tolist()
    assert found == datasets.subset(datasets.find("fundus")(), IMAGES, 0, by_class=False).ids[: len(found)]


def test_once_all_is_settled_the_rest_is_not_run_and_nothing_is_run_again(decisive, model, counting, tmp_path):
    told = []
    result = run(decisive, models=[model], out=tmp_path / "run", progress=lambda *now: told.append(now[:2]))
    (judged,) = set(images(result).values())
    assert judged < IMAGES
    assert len(result.pictures) == judged
    assert len(result.parts) == judged / CHUNK
    cost, planned = result.info["cost"], result.info["plan"]["forwards"]
    assert cost["settled"] == planned * (IMAGES - judged) / IMAGES
    assert accounted(cost) == planned
    assert told[-1] == (planned, planned)
    assert result.info["status"] == "complete"
    with tallied(model.network) as asked:
        again = run(decisive, models=[model], out=tmp_path / "run")
    assert (asked.forwards, again.parts, accounted(again.info["cost"])) == (0, result.parts, planned)
    assert again.info["cost"]["forwards"] == cost["forwards"]
    result.info["metrics"][0]["better"] = {}
    assert result.separations().empty


def test_any_run_has_separations_by_model_and_data_set(decisive, model, counting, tmp_path):
    def stop(done, total, what):
        raise KeyboardInterrupt

    decisive["dataset"] += [{"name": "fundus-tag", "limit": 8, "size": 32}]
    asked = {"models": [model, Classifier(counting.inner, name="other")], "out": tmp_path / "run", "until": "all"}
    with pytest.raises(KeyboardInterrupt):
        run(decisive, **asked, progress=stop)
    stopped, ended = load(tmp_path / "run").separations(), run(decisive, **asked).separations()
    assert stopped.empty
    assert list(stopped.columns) == list(ended.columns) == ["model", "dataset", *SEPARATION_COLUMNS]
    blocks = [(m, d) for m in ("other", "tiny") for d in ("fundus", "fundus-tag")]
    assert sorted(zip(ended["model"], ended["dataset"], strict=True)) == blocks
