"""A method that reads several layers, in a suite."""

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.running.block import open_blocks
from camfaith.benchmark.running.planning import _cells, plan_block, whole
from camfaith.benchmark.running.provenance import describe
from camfaith.benchmark.suite.declaration import Suite
from camfaith.models import Classifier

FUSED = {"name": "fused", "method": "layercam", "layers": ["layer2", "layer3"]}


def suite(*methods):
    return {
        "suite": {"name": "s", "methods": [*methods], "metrics": [{"name": "deletion", "steps": 2}], "batch_size": 8},
        "model": [{"name": "fundus-resnet", "layer": "layer3"}],
        "dataset": [{"name": "fundus", "limit": 2}],
    }


def test_the_evidence_of_a_bench_is_at_the_union_of_all_layers():
    low = {"name": "gradcam", "layer": "layer1", "label": "low"}
    (block,) = open_blocks(Suite.of(suite(FUSED, "gradcam", low)))
    bench = block.bench
    assert bench.layers == ["layer2", "layer3", "layer1"]
    assert [arm.needed_layers for arm in bench.arms] == [("layer2", "layer3"), ("layer3",), ("layer1",)]
    assert [arm.layer for arm in bench.arms] == [None, "layer3", "layer1"]
    assert [_cells(bench, arm) for arm in bench.arms] == [24 * 24, 12 * 12, 48 * 48]
    assert describe([block], {}, {})["models"][0]["layers"]["fused"] == "layer2, layer3"


def test_a_fused_method_reads_gradients_where_its_method_does():
    (block,) = open_blocks(Suite.of(suite(FUSED | {"method": "eigencam"})))
    assert not block.bench.gradients
    assert plan_block(block, whole(block)).shared.backwards == 0


OWN = [
    "shapleycam",
    {"name": "smoothgradcam++", "samples": 3},
    {"name": "fullgrad"},
    {"name": "finercam", "method": "layercam"},
    {"name": "fused", "method": "shapleycam", "layers": ["inner.stem", "inner.body"]},
]


@pytest.mark.parametrize("metric", ["deletion", "max-sensitivity"])
def test_methods_with_passes_of_their_own_make_the_planned_calls(small_suite, counting, tmp_path, metric):
    small_suite["suite"] |= {"methods": OWN, "metrics": [metric]}
    model = Classifier(counting, name="tiny")
    (block,) = open_blocks(Suite.of(small_suite), {"tiny": model})
    planned = plan_block(block, whole(block)).shared
    result = run(small_suite, models=[model], out=tmp_path / "run")
    assert set(result.scores["status"]) <= {"ok", "undefined"}
    cost = result.info["cost"]
    assert cost["forwards"] + cost["shared"] == planned.forwards
    assert cost["backwards"] == planned.backwards
    assert planned.backwards % (6 * (2 + 3 + 1 + 1 + 4)) == 0
