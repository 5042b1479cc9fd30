"""The plan's numbers are the calls that the run makes."""

from __future__ import annotations

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.running.lacking import holdings_of
from camfaith.benchmark.running.planning import Plan, plan_block
from camfaith.benchmark.running.settling import works_of
from camfaith.benchmark.suite.declaration import Suite
from camfaith.models import Classifier, load


def planned_for(suite, networks):
    return Plan([plan_block(held.block, works_of(held)) for held in holdings_of(suite, given=networks)])


def counted(suite, networks, tmp_path):
    """Plan and run a suite on counting networks; the plan, the costs, and what went through the networks."""
    planned = planned_for(suite, networks)
    for network in networks.values():
        network.network.forwards = network.network.backwards = 0
    before = planned_for(suite, networks)
    tries = {name: (n.network.forwards, n.network.backwards) for name, n in networks.items()}
    assert before == planned
    for network in networks.values():
        network.network.forwards = network.network.backwards = 0
    result = run(suite, models=list(networks.values()), out=tmp_path / "run")
    forwards = sum(n.network.forwards - tries[name][0] for name, n in networks.items())
    backwards = sum(n.network.backwards - tries[name][1] for name, n in networks.items())
    return planned, result, forwards, backwards


def test_the_run_makes_the_planned_calls(small_suite, counting, tmp_path):
    small_suite["suite"]["methods"] += ["cam", "saliency", {"name": "integrated-gradients", "n_steps": 3}, "occlusion"]
    networks = {"tiny": Classifier(counting, name="tiny")}
    planned, result, forwards, backwards = counted(Suite.of(small_suite), networks, tmp_path)
    cost = result.info["cost"]
    assert forwards == cost["forwards"]
    assert forwards + cost["shared"] + cost["failed"] == planned.forwards
    assert cost["shared"] > 0, "CAM, GradCAM and XGradCAM order the pixels alike behind global pooling"
    healthy = result.pictures["label"].eq(0).sum()
    assert healthy > 0
    assert cost["failed"] == healthy * 2 * 3, "a photograph without lesions has no oracle, so two curves less"
    assert backwards == cost["backwards"] == planned.backwards
    assert cost["tails"] == planned.tails == 6 * (8 + 1)


def test_new_explanations_are_planned_once_for_all_that_share_a_pass(small_suite, counting, tmp_path):
    small_suite["suite"] |= {
        "methods": [
            "gradcam",
            "layercam",
            "cam",
            {"name": "integrated-gradients", "n_steps": 3},
            "occlusion",
            "oracle",
        ],
        "metrics": [{"name": "max-sensitivity", "samples": 5}, "shift-equivariance"],
    }
    networks = {"tiny": Classifier(counting, name="tiny")}
    planned, result, forwards, backwards = counted(Suite.of(small_suite), networks, tmp_path)
    own = planned.blocks[0].methods // (6 * (1 + 5 + 4))
    assert own > 3, "the path's images, and Occlusion's windows"
    assert planned.forwards == 6 * (1 + 5 + 4) * (1 + own)
    assert planned.backwards == 6 * (1 + 5 + 4) * (1 + 3), "CAMs share one pass, and the path has three images"
    assert (forwards, backwards) == (planned.forwards, planned.backwards)
    cost = result.info["cost"]
    assert (cost["forwards"], cost["backwards"], cost["failed"]) == (forwards, backwards, 0)
    alone = planned.blocks[0].unshared
    assert alone.backwards == 6 * (1 + 5 + 4) * (2 + 3)


TWICE = {"name": "gradcam", "layer": "inner.body.1", "label": "the same again"}


@pytest.mark.parametrize("methods", [["layercam", "eigencam", "occlusion", "oracle"], ["gradcam", TWICE, "eigencam"]])
def test_what_a_map_shows_is_planned_to_be_explained_anew_for_each_map(methods, small_suite, counting, tmp_path):
    metrics = ["coherency", "random-logit", {"name": "irof", "segments": 9}]
    small_suite["suite"] |= {"methods": methods, "metrics": metrics}
    networks = {"tiny": Classifier(counting, name="tiny")}
    planned, result, forwards, backwards = counted(Suite.of(small_suite), networks, tmp_path)
    assert result.scores["status"].isin(["ok", "undefined", "constant"]).all()
    cost, own, again = result.info["cost"], planned.blocks[0].methods, TWICE in methods
    for_maps = 6 * (1 + 9)  # what each shows, and the image without its superpixels
    assert planned.forwards == 6 * (1 + 1) + own + len(methods) * for_maps, "for the class, and for another one"
    assert forwards + cost["shared"] + cost["failed"] + cost["spared"] == planned.forwards
    assert cost["shared"] == again * for_maps
    assert cost["spared"] > 0, "SLIC makes fewer than nine"
    healthy = int(result.pictures["label"].eq(0).sum())
    assert cost["failed"] == ("oracle" in methods) * healthy * (1 + 9)
    assert planned.backwards == 6 * (1 + 1 + 1 + again)
    assert backwards == cost["backwards"] == 6 * (1 + 1 + 1), "equal maps go back together"


def test_no_one_pays_for_a_backward_to_a_layer_that_wants_no_gradient(small_suite, counting, tmp_path):
    small_suite["suite"] |= {"methods": ["cam", "saliency"], "metrics": [{"name": "max-sensitivity", "samples": 2}]}
    networks = {"tiny": Classifier(counting, name="tiny")}
    planned, _, forwards, backwards = counted(Suite.of(small_suite), networks, tmp_path)
    assert forwards == planned.forwards
    assert backwards == planned.backwards == 6 * (1 + 2), "Saliency's own"


def test_what_a_method_without_a_map_would_have_made_anew_is_counted_as_failed(small_suite, counting, tmp_path):
    small_suite["suite"] |= {"methods": ["oracle"], "metrics": [{"name": "max-sensitivity", "samples": 5}]}
    networks = {"tiny": Classifier(counting, name="tiny")}
    planned, result, forwards, _ = counted(Suite.of(small_suite), networks, tmp_path)
    healthy = int(result.pictures["label"].eq(0).sum())
    assert healthy > 0
    assert result.info["cost"]["failed"] == 5 * healthy
    assert forwards == planned.forwards - 5 * healthy


def test_the_plan_of_the_quick_suite_holds(tmp_path, counting):
    suite = Suite.of("quick").changed(limit=1, batch_size=64)
    networks = {}
    for entry in suite.model:
        loaded = load(entry.name)
        wrapper = type(counting)(loaded.network)
        networks[entry.name] = Classifier(
            wrapper, name=entry.name, mean=loaded.mean, std=loaded.std, resize=loaded.resize, crop=loaded.crop
        )
    planned, result, forwards, backwards = counted(suite, networks, tmp_path)
    cost = result.info["cost"]
    assert forwards + cost["shared"] + cost["failed"] == planned.forwards
    assert backwards == planned.backwards
