"""Presets in a suite: which metrics they stand for, what these are called, and what a row says."""

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.suite.declaration import Suite, SuiteError
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import open_judges
from camfaith.metrics.presets import PRESETS


def suite_of(*metrics):
    return Suite.of(
        {
            "suite": {"name": "presets", "methods": ["gradcam"], "metrics": list(metrics)},
            "model": [{"name": "fundus-resnet"}],
            "dataset": [{"name": "fundus", "limit": 1}],
        }
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_is_all_its_metrics(name):
    judges = open_judges(suite_of({"preset": name}).suite.metrics)
    assert [(judge.label, judge.preset, type(judge.metric)) for judge in judges] == [
        (f"{metric}-{name}", name, kind) for metric, kind in PRESETS[name].items()
    ]


def test_metrics_of_one_name_are_told_apart_by_their_presets():
    """Each has a key of its own: what one protocol found is no other's."""
    told = ("deletion", *({"name": "deletion", "preset": preset} for preset in ("rise", "torchcam", "xplique")))
    entries = suite_of(*told).suite.metrics
    assert labels(entries) == ["deletion", "deletion-rise", "deletion-torchcam", "deletion-xplique"]
    assert len({judge.key for judge in open_judges(entries)}) == 4


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"preset": "risse"}, "unknown preset 'risse': did you mean 'rise'"),
        ({"name": "irof", "preset": "rise"}, "unknown rise metric 'irof'"),
        ({"name": "deletion", "preset": "rise", "steps": 8}, "steps"),
        ({"name": "arcc", "preset": "pgc", "noise": -1}, "noise"),
    ],
)
def test_what_a_preset_has_not_is_refused(entry, why):
    with pytest.raises((SuiteError, ValueError), match=why):
        open_judges(suite_of(entry).suite.metrics)


def test_a_row_says_which_preset_it_follows(tmp_path):
    result = run(suite_of("deletion", {"name": "deletion", "preset": "torchcam"}), out=tmp_path / "run")
    rows = result.scores.query("column == 'auc'").set_index("metric")
    assert rows["preset"].to_dict() == {"deletion": "", "deletion-torchcam": "torchcam"}
    assert [metric["preset"] for metric in result.info["metrics"]] == ["", "torchcam"]
    again = run(result.info["resolved"], out=tmp_path / "run")
    assert again.scores.equals(result.scores)
