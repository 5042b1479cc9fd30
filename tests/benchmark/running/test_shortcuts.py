"""What shortcuts change is written down, and a run goes on as it was begun."""

from __future__ import annotations

import pytest

from camfaith.benchmark import run
from camfaith.models import Classifier
from camfaith.models.speed import tuning_cache
from camfaith.models.speed.setup import Setup

MOVED = ("deletion", "insertion", "sensitivity-n")
"""Metrics that ask the model; the pointing game looks at the map alone."""


@pytest.fixture
def suite(small_suite):
    """Two methods, three metrics that shortcuts move and one that they do not, and a batch found by measuring."""
    head = small_suite["suite"]
    head["methods"] = ["gradcam", "random"]
    head["metrics"] = [m for m in head["metrics"] if isinstance(m, dict)] + ["energy-pointing-game"]
    del head["batch_size"]
    return small_suite


@pytest.fixture
def forced(monkeypatch):
    """Has a setup stand for what measuring finds."""

    def install(setup):
        monkeypatch.setattr(tuning_cache, "tune", lambda _classifier, _image, _allow=(): setup)

    return install


@pytest.fixture
def model(counting):
    return Classifier(counting, name="tiny")


def test_a_run_with_a_shortcut_says_how_far_it_moved_every_metric(suite, forced, model, tmp_path):
    forced(Setup(16, shortcuts=("bf16",)))
    result = run(suite, models=[model], out=tmp_path / "run", allow=["bf16"])
    (entry,) = result.info["engine"]
    assert entry["setup"]["shortcuts"] == ["bf16"]
    assert entry["compared_samples"] == 4
    assert set(entry["largest_change"]) == {*MOVED, "energy-pointing-game"}
    assert all(0 < entry["largest_change"][metric] < 0.5 for metric in MOVED)
    assert entry["largest_change"]["energy-pointing-game"] == 0


def test_the_change_that_is_told_is_the_largest_there_is(suite, forced, model, tmp_path):
    suite["dataset"][0]["limit"] = 4  # all of them are compared
    forced(Setup(16))
    exact = run(suite, models=[model], out=tmp_path / "exact").scores
    forced(Setup(16, shortcuts=("bf16",)))
    result = run(suite, models=[model], out=tmp_path / "quick", allow=["bf16"])
    both = exact.merge(result.scores, on=["sample", "method", "metric", "column"], suffixes=("", "_quick"))
    for metric, column in {"deletion": "auc", "insertion": "auc", "sensitivity-n": "correlation"}.items():
        rows = both[(both["metric"] == metric) & (both["column"] == column)]
        expected = (rows["value"] - rows["value_quick"]).abs().max()
        assert result.info["engine"][0]["largest_change"][metric] == pytest.approx(expected, rel=1e-6)


def test_a_run_without_shortcuts_has_no_change_to_tell(suite, forced, model, tmp_path):
    forced(Setup(16, refused={"bf16": "not faster here"}))
    (entry,) = run(suite, models=[model], out=tmp_path / "run", allow=["bf16"]).info["engine"]
    assert entry.keys() == {"model", "dataset", "setup", "device", "labels_fit", "made"}
    assert entry["setup"]["refused"] == {"bf16": "not faster here"}


def test_comparing_costs_the_run_nothing_that_it_tells_of(suite, forced, model, tmp_path):
    forced(Setup(16))
    plain = run(suite, models=[model], out=tmp_path / "plain").info["cost"]
    forced(Setup(16, shortcuts=("bf16",)))
    quick = run(suite, models=[model], out=tmp_path / "quick", allow=["bf16"]).info["cost"]
    for name in ("forwards", "backwards", "shared", "failed"):
        assert quick[name] == plain[name]


def test_a_run_goes_on_with_the_setup_that_it_was_begun_with(suite, forced, model, counting, tmp_path):
    def stop(done, _planned, _what):
        if done > 0:
            raise KeyboardInterrupt

    suite["dataset"][0]["limit"] = 12  # three parts
    forced(Setup(5, False, ("bf16",)))
    whole = run(suite, models=[model], out=tmp_path / "whole", allow=["bf16"])
    with pytest.raises(KeyboardInterrupt):
        run(suite, models=[model], out=tmp_path / "halves", allow=["bf16"], progress=stop)
    (tmp_path / "cache" / "speed.json").unlink()
    forced(Setup(64))
    sizes = []
    counting.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    resumed = run(suite, models=[model], out=tmp_path / "halves", allow=["bf16"])
    assert max(sizes) == 5
    assert resumed.info["engine"] == whole.info["engine"]
    assert resumed.info["engine"][0]["setup"]["batch_size"] == 5
    columns = ["sample", "method", "metric", "column", "value", "status"]
    assert resumed.scores[columns].equals(whole.scores[columns])
