"""A run gives metrics and baselines other pictures of its data set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from camfaith.benchmark import run
from camfaith.benchmark.datasets import SampleError
from camfaith.benchmark.results.tables import map_of
from camfaith.benchmark.running.lacking import holdings_of
from camfaith.benchmark.running.reading import sample_seed
from camfaith.benchmark.suite.declaration import Suite
from camfaith.benchmark.suite.pooling import PoolOf
from camfaith.models import Classifier


@pytest.fixture
def suite(small_suite):
    small_suite["suite"]["methods"] = ["gradcam", "random"]
    small_suite["suite"]["metrics"] = [
        {"name": "deletion", "steps": 4, "baseline": ["mean", {"name": "another", "pool": 3}]}
    ]
    return small_suite


def test_a_pool_holds_the_first_pictures_whatever_the_limit_and_is_read_when_it_is_asked(
    suite, counting, tmp_path, monkeypatch
):
    classifier, reads, read = Classifier(counting, name="tiny"), [], PoolOf._read
    monkeypatch.setattr(PoolOf, "_read", lambda self, pictures: reads.append(pictures) or read(self, pictures))
    suite["dataset"][0]["limit"] = 2
    run(suite, models=[classifier], out=tmp_path / "run")
    assert reads == [3]
    suite["dataset"][0]["limit"] = 5
    (held,) = holdings_of(Suite.of(suite), given={"tiny": classifier})
    assert reads == [3], "what is missing is known without a picture"
    result = run(suite, models=[classifier], out=tmp_path / "run")

    block = held.block
    images = torch.stack([classifier.prepare(block.dataset[i].image) for i in range(5)])
    metric = block.asked[1].metric
    alone = replace(metric, baseline=replace(metric.baseline, pool=images[:3]))
    rows = result.maps[result.maps["method"] == "gradcam"].set_index("sample")
    maps = torch.stack([torch.tensor(map_of(rows.loc[name])) for name in block.dataset.ids])
    seeds = torch.tensor([sample_seed(0, name) for name in block.dataset.ids])
    expected = alone(classifier, images, None, maps, seeds=seeds)["auc"].tolist()
    found = result.table("deletion-another").droplevel(["model", "dataset"])["gradcam"]
    assert found[list(block.dataset.ids)].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_picture_that_cannot_be_read_leaves_its_place_to_the_next(suite, counting):
    checked, classifier = Suite.of(suite), Classifier(counting)
    pools = PoolOf(checked.dataset[0], checked.suite, lambda: classifier)
    whole = pools._samples

    class Broken:
        ids = whole.ids[:4]

        def __getitem__(self, index):
            if index == 1:
                raise SampleError("not a picture")
            return whole[index]

    pools._samples = Broken()
    expected = torch.stack([classifier.prepare(whole[i].image) for i in (0, 2, 3)])
    for pictures in (3, 4):  # of four there are no more
        with pytest.warns(UserWarning, match="cannot stand in the pool of pictures: not a picture"):
            assert torch.equal(pools(pictures).images(expected), expected)
