"""What a suite may say, and the errors for what it may not."""

from __future__ import annotations

import sys
from dataclasses import asdict

import pytest
import torch

from camfaith.benchmark.running.block import open_blocks
from camfaith.benchmark.suite.declaration import Suite, SuiteError
from camfaith.benchmark.suite.identity import declared_model, model_key
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import open_model
from camfaith.metrics.probing.baselines import PANEL


def open_benches(suite):
    return [block.bench for block in open_blocks(suite)]


def suite(**head):
    return {
        "suite": {"name": "s", "methods": ["gradcam"], "metrics": ["deletion"], **head},
        "model": [{"name": "fundus-resnet"}],
        "dataset": [{"name": "fundus", "limit": 2}],
    }


@pytest.mark.parametrize("content", [3, None, ["quick"], {1: 2}, suite(methods=[{"name": "gradcam", 3: 4}])])
def test_what_is_no_suite_is_refused(content):
    with pytest.raises(SuiteError, match=r"expected a suite's name|keys are texts, got [13]"):
        Suite.of(content)


def test_a_suite_says_all_its_mistakes_and_each_once():
    with pytest.raises(SuiteError) as error:
        Suite.of({"suit": {}, "model": [{"name": "a", "weight": 3}], "dataset": {"name": "fundus"}})
    assert [line.partition(":")[2][:19] for line in str(error.value).splitlines()] == [
        " unknown key in [mo",
        " unknown key in the",
    ]


def test_the_geometry_of_a_suite_is_its_models_and_another_geometry_another_model():
    keys = set()
    for more in ({}, {"resize": (96, 90)}, {"pad": True}, {"interpolation": "nearest"}, {"crop": (90, 96)}):
        content = suite()
        content["model"][0] |= more
        entry = Suite.of(content).model[0]
        model = open_model(entry, "cpu")
        assert asdict(model.geometry).items() >= more.items()
        keys |= {model_key(model, entry), declared_model(entry)}
    assert len(keys) == 10


def test_the_same_name_twice_gets_labels_that_say_how_they_differ():
    content = suite(methods=["gradcam", {"name": "gradcam", "layer": "layer2"}, {"name": "xgradcam", "label": "mine"}])
    assert labels(Suite.of(content).suite.methods) == ["gradcam", "gradcam(layer=layer2)", "mine"]
    with pytest.raises(SuiteError, match="'gradcam' stands twice"):
        labels(Suite.of(suite(methods=["gradcam", "gradcam"])).suite.methods)


def test_a_class_of_ones_own_goes_by_its_name_unless_another_does():
    class Named:
        name = "mycam"

    class Inheriting(Named):
        pass

    kinds = {"a.py:Named": Named, "b.py:Named": Named, "a.py:Inheriting": Inheriting}
    for names, expected in (
        (["a.py:Named", "gradcam", "a.py:Inheriting"], ["mycam", "gradcam", "a.py:Inheriting"]),
        (["a.py:Named", "b.py:Named"], ["a.py:Named", "b.py:Named"]),
        (["a.py:Named", "mycam"], ["a.py:Named", "mycam"]),
    ):
        assert labels(Suite.of(suite(methods=names)).suite.methods, kinds.get) == expected


def test_the_data_folder_is_filled_in_and_asked_for():
    content = suite()
    content["dataset"] = [{"name": "folder", "root": "${data}/pictures"}]
    assert Suite.of(content, data="/somewhere").dataset[0].settings["root"] == "/somewhere/pictures"
    with pytest.raises(SuiteError, match=r"--data FOLDER"):
        Suite.of(content)


OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4, 5)
        self.end = end

    def forward(self, images):
        return self.end(self.head(self.body(images).relu().mean((2, 3))))


def logits(): return Own(lambda z: z)
def a_tuple(): return Own(lambda z: (z, z))
"""


def test_a_network_from_a_file_is_judged_with_its_layer_found(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    content = suite()
    content["model"] = [{"name": f"{tmp_path}/own.py:logits", "label": "mine"}]
    (bench,) = open_benches(Suite.of(content))
    assert (bench.model, bench.layer, bench.classes) == ("mine", "body", 5)


def test_a_suite_says_which_entry_of_what_a_network_returns_holds_the_logits(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    content = suite()
    content["model"] = [{"name": f"{tmp_path}/own.py:a_tuple", "output": 1}]
    (bench,) = open_benches(Suite.of(content))
    assert (bench.classifier.output, bench.classes) == (1, 5)


def test_several_baselines_in_one_line_are_a_metric_each():
    blurs = ["black", {"name": "blur", "sigma": 2}, {"name": "blur", "sigma": 9}, {"image": "photos/grey.png"}]
    metrics = [{"name": "deletion", "steps": 8, "baseline": blurs}, "deletion", {"name": "road", "label": "r"}]
    content = suite(metrics=metrics)
    found = Suite.of(content).changed(limit=2)
    told = ["deletion-black", "deletion-blur(sigma=2)", "deletion-blur(sigma=9)", "deletion-grey", "deletion", "r"]
    assert labels(found.suite.metrics) == told
    assert [metric.settings for metric in found.suite.metrics[:4]] == [{"steps": 8, "baseline": b} for b in blurs]
    panel = Suite.of(suite(metrics=[{"name": "my.py:Own", "baseline": "panel", "label": "own"}])).suite.metrics
    assert [metric.label for metric in panel] == [f"own-{name}" for name in PANEL]
    assert [metric.settings["baseline"] for metric in panel] == list(PANEL)


def test_a_baseline_in_memory_outlives_a_change_of_the_suite():
    image = torch.rand(3, 8, 8)
    suite = Suite.of(
        {
            "suite": {"name": "it", "methods": ["gradcam"], "metrics": [{"name": "deletion", "baseline": image}]},
            "model": [{"name": "fundus-vgg"}],
            "dataset": [{"name": "fundus"}],
        }
    )
    (metric,) = suite.changed(limit=2).changed(seed=1).suite.metrics
    assert torch.equal(metric.settings["baseline"].image, image)


def test_a_noise_tunnel_takes_its_method_with_settings_and_the_layer_that_it_needs():
    steps = {"name": "integrated-gradients", "n_steps": 4}
    entries = [
        {"name": "noise-tunnel", "label": "plain"},
        {"name": "noise-tunnel", "label": "steps", "method": steps, "kind": "vargrad", "samples": 3, "sigma": 0.2},
        {"name": "noise-tunnel", "label": "guided", "method": "guided-gradcam"},
        {"name": "noise-tunnel", "label": "earlier", "method": "guided-gradcam", "layer": "layer1"},
    ]
    (bench,) = open_benches(Suite.of(suite(methods=entries)))
    plain, steps, guided, earlier = bench.arms
    assert (plain.explainer.method.name, plain.explainer.kind, plain.layer) == ("saliency", "smoothgrad", None)
    assert plain.needed_layers == ()
    assert steps.explainer.method.n_steps == 4
    assert steps.explainer.cost(bench.image).backwards == 12
    assert guided.needed_layers == ("layer3",)
    assert earlier.explainer.method.layer == "layer1"
    assert len({arm.key for arm in bench.arms}) == 4


def test_a_method_whose_extra_is_not_installed_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SuiteError, match=r"'lime': superpixels need scikit-learn: pip install 'camfaith\[superp"):
        open_benches(Suite.of(suite(methods=["lime"])))
