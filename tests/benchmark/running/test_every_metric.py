"""All metrics that ship in one run: little is asked twice, and a metric of maps alone is added for nothing."""

from __future__ import annotations

import hashlib

import pytest

from camfaith import metrics
from camfaith.benchmark import load, run
from camfaith.models import Classifier

CAMS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "eigencam", "eigengradcam")
EARLY = "inner.stem.1"
"""At the last layer most of them are one map, but for rounding."""
OF_MAPS = [name for name in metrics.SHIPPED if not metrics.find(name)().probes(EARLY, 32 * 32)]


def suite(names):
    cams = [{"name": cam, "layer": EARLY} for cam in CAMS]
    head = {"name": "every", "methods": [*cams, "random"], "metrics": list(names), "batch_size": 64}
    data = {"name": "skin", "limit": 2, "size": 32}  # black corners would hide what is asked twice
    return {"suite": head, "model": [{"name": "tiny"}], "dataset": [data]}


@pytest.fixture
def questions(counting):
    """What went through the network: each image, with the logits that it got of the network as it was."""
    found: list[bytes] = []

    def listen(network, given, logits):
        found.extend(
            b"".join(hashlib.sha256(each.detach().numpy().tobytes()).digest() for each in pair)
            for pair in zip(given[0], logits, strict=True)
        )

    counting.register_forward_hook(listen)
    return found


def test_the_whole_list_asks_little_twice(counting, questions, tmp_path):
    opened, folder = Classifier(counting, name="tiny"), tmp_path / "run"
    run(suite(["deletion"]), models=[opened], out=folder)  # what opening a network asks is not counted
    before = load(folder).info["cost"]["forwards"]
    questions.clear()
    result = run(
        suite(["deletion", *(set(metrics.SHIPPED) - {"deletion"} - set(OF_MAPS))]), models=[opened], out=folder
    )
    made = result.info["cost"]["forwards"] - before
    assert made <= 1.15 * len(set(questions))
    assert not (result.scores["status"] == "error").any()
    counting.forwards = counting.backwards = 0
    every = run(suite(metrics.SHIPPED), models=[opened], out=folder)
    assert (counting.forwards, counting.backwards) == (0, 0), "metrics of maps alone"
    assert set(every.scores["metric"]) >= set(metrics.SHIPPED)
    assert "cost" not in set(every.reliability()["metric"]), "the controls cost least: that is no mistake of theirs"
    spent = every.scores.query("metric == 'cost' and column != 'seconds'").groupby(["method", "column"])["value"].mean()
    assert spent["gradcam"].drop("memory").to_dict() == {"forwards": 1, "backwards": 1}
    assert spent["random"].drop("memory").to_dict() == {"forwards": 1, "backwards": 0}
    assert spent["gradcam", "memory"] > spent["random", "memory"]
