"""The calls of the comparison of class activation maps, counted at the network and worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from camfaith.benchmark import run
from camfaith.benchmark.running.block import open_blocks
from camfaith.benchmark.running.lacking import holdings_of
from camfaith.benchmark.running.planning import plan_block, whole
from camfaith.benchmark.running.reading import read
from camfaith.benchmark.suite.declaration import Suite
from camfaith.models import Classifier
from camfaith.models.maps import normalise, rectify, upsample
from camfaith.models.speed.counting import counting as tallied

GRADIENT = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "elementwise", "eigengradcam")
EIGHT = (*GRADIENT, "eigencam")
CURVES = {"deletion": 20 - 1, "insertion": 20 - 1, "road": 2 * 9}
"""Forwards for one map: the points inside a curve, and both directions of ROAD at nine percentiles."""
PER_ORDER, PER_DISPLAY = sum(CURVES.values()), 1
PER_IMAGE = 100 + 100 + 2
"""Forwards for one image whatever the methods: random subsets, perturbations, and the black and the blurred image."""
ASKING = 6
"""Metrics that compare with the score of the unchanged image."""


def suite(images: int, chosen: tuple[str, ...] = EIGHT) -> Suite:
    return Suite.of(
        {
            "suite": {
                "name": "calls",
                "methods": list(chosen),
                "metrics": [
                    {"name": "deletion", "steps": 20},
                    {"name": "insertion", "steps": 20},
                    {"name": "road", "percentiles": [10, 20, 30, 40, 50, 60, 70, 80, 90]},
                    "average-drop",
                    {"name": "faithfulness-correlation", "subsets": 100},
                    {"name": "infidelity", "samples": 100},
                ],
                "batch_size": 64,
            },
            "model": [{"name": "tiny"}],
            "dataset": [{"name": "fundus", "limit": images, "size": 32}],
        }
    )


@pytest.fixture
def classifier(counting) -> Classifier:
    return Classifier(counting, name="tiny")


@pytest.fixture
def planned(classifier):
    def plan(images: int, chosen: tuple[str, ...] = EIGHT) -> Any:
        (held,) = holdings_of(suite(images, chosen), given={"tiny": classifier})
        return plan_block(held.block, whole(held.block))

    return plan


def distinct(classifier: Classifier, images: int) -> tuple[int, int]:
    """How many orders of pixels, and how many heat maps, the eight methods have among them, summed over images."""
    bench = open_blocks(suite(images), {"tiny": classifier})[0].bench
    samples, _ = read(bench, range(images), 0, bench.classes)
    pictures = torch.stack([sample.image for sample in samples])
    drawn = [torch.randperm(32 * 32, generator=torch.Generator().manual_seed(sample.seed)) for sample in samples]
    orders: list[set[Any]] = [set() for _ in samples]
    shown: list[set[Any]] = [set() for _ in samples]
    evidence = classifier.evidence(pictures, None, bench.layers)  # in the run's layout: another rounds otherwise
    for arm in bench.arms:
        raw = arm.explainer.explain(evidence, classifier)
        saliency = upsample(rectify(raw) if arm.rectified else raw, (32, 32)).flatten(1)
        heat = normalise(upsample(rectify(raw), (32, 32))).flatten(1)
        for image, lots in enumerate(drawn):
            order = lots[saliency[image, lots].argsort(descending=True, stable=True)]
            orders[image].add(tuple(order.tolist()))
            shown[image].add(tuple(heat[image].tolist()))
    return sum(map(len, orders)), sum(map(len, shown))


@pytest.mark.parametrize("images", [1, 2, 3])
def test_the_comparison_makes_the_calls_that_were_counted_by_hand(images, classifier, planned, tmp_path):
    orders, shown = distinct(classifier, images)
    planned(images)  # what is tried once for each network is over
    with tallied(classifier.network) as opening:
        cell = planned(images)
    with tallied(classifier.network) as tally:
        result = run(suite(images), models=[classifier], out=tmp_path / "run")
    assert result.scores["status"].isin(["ok", "undefined", "constant"]).all()
    cost = result.info["cost"]
    forwards = tally.forwards - opening.forwards
    assert forwards == cost["forwards"] == images * (1 + PER_IMAGE) + orders * PER_ORDER + shown * PER_DISPLAY
    assert cost["shared"] == (8 * images - orders) * PER_ORDER + (8 * images - shown) * PER_DISPLAY
    assert orders < 8 * images, "GradCAM, XGradCAM and HiResCAM order the pixels alike behind global pooling"
    assert forwards + cost["shared"] == cell.forwards == images * (1 + PER_IMAGE + 8 * (PER_ORDER + PER_DISPLAY))
    assert tally.backwards - opening.backwards == cost["backwards"] == images
    assert cost["failed"] == cost["spared"] == 0


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 4, 8])
def test_only_what_is_asked_of_every_map_grows_with_the_methods_and_all_of_it_with_the_images(planned, count, images):
    cell = planned(images, EIGHT[:count])
    assert (cell.capture, cell.shared.backwards, cell.per_image) == (images, images, images * PER_IMAGE)
    assert (cell.methods, cell.per_map) == (0, images * count * (PER_ORDER + PER_DISPLAY))


@pytest.mark.parametrize("chosen", [EIGHT[:1], EIGHT[:4], EIGHT, ("eigencam",)])
def test_without_sharing_every_method_and_metric_pays_for_itself(chosen, planned):
    images = 3
    for_maps = 1  # its own forward to the layer
    for_metrics = ASKING + (19 + 1) + (19 + 1) + 18 + 1 + 100 + 100
    found = planned(images, chosen).unshared
    assert found.forwards == images * len(chosen) * (for_maps + for_metrics)
    assert found.backwards == images * len(set(chosen) & set(GRADIENT))
    assert found.tails == 0


def test_a_method_that_needs_no_gradient_alone_makes_no_backward(planned):
    assert planned(3, ("eigencam",)).shared.backwards == 0
