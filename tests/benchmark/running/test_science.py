"""What must be true of the numbers: known evidence beats chance, and a corner that is used is no artefact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from camfaith.benchmark.datasets.synthetic import Fundus, FundusTag
from camfaith.metrics import CornerArtifact, Deletion, EnergyPointingGame, Insertion, SensitivityN
from camfaith.models import load

NETWORKS = ("fundus-resnet", "fundus-vgg", "fundus-effnet")
SICK = [index for index in range(40) if index % 5]  # photographs of grade 0 have no lesions to show


def batch(dataset, indices, model):
    samples = [dataset[i] for i in indices]
    images = torch.stack([model.prepare(s.image) for s in samples])
    return images, torch.stack([model.prepare_mask(s.mask) for s in samples])


def noise(count):
    maps = torch.rand(count, 7, 7, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(maps[:, None], (96, 96), mode="bilinear")[:, 0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("metric", "sign"), [(Deletion(steps=8), -1), (Insertion(steps=8), 1), (EnergyPointingGame(), 1)]
)
def test_the_oracle_beats_random_with_an_interval_that_excludes_zero(name, metric, sign):
    model = load(name)
    images, masks = batch(Fundus(), SICK, model)
    seeds = torch.arange(len(images))
    oracle = metric(model, images, None, masks.float(), masks=masks, seeds=seeds)[metric.main]
    chance = metric(model, images, None, noise(len(images)), masks=masks, seeds=seeds)[metric.main]
    gain = sign * (oracle - chance).numpy()
    interval = stats.bootstrap((gain,), np.mean, confidence_level=0.99, rng=0).confidence_interval
    assert interval.low > 0, f"{metric.name}: {gain.mean():.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def test_random_maps_have_no_sensitivity_n():
    model = load("fundus-vgg")
    images, _ = batch(Fundus(), range(32), model)
    metric = SensitivityN(sizes=(0.03, 0.3), subsets=32)
    found = metric(model, images, None, noise(32))["correlation"]
    assert abs(float(found.mean())) < 0.05


def test_a_map_on_a_corner_is_an_artefact_only_where_the_model_does_not_use_it():
    tagged, plain = load("fundus-tag-resnet"), load("fundus-resnet")
    with_tag, tags = batch(FundusTag(), range(8), tagged)
    without, _ = batch(Fundus(), range(8), plain)
    metric = CornerArtifact()
    used = metric(tagged, with_tag, None, tags.float())["unsupported"]
    unused = metric(plain, without, None, tags.float())["unsupported"]
    assert float(used.max()) < 0.1
    assert float(unused.min()) > 0.8


def test_the_tag_network_uses_the_tag_and_nothing_else():
    model = load("fundus-tag-resnet")
    images, tags = batch(FundusTag(), range(40), model)
    labels = torch.arange(40) % 5
    right = model.scores(images).softmax(1)[torch.arange(40), labels]
    without = model.scores(images.masked_fill(tags[:, None], 0)).softmax(1)[torch.arange(40), labels]
    alone = model.scores(images.masked_fill(~tags[:, None], 0)).softmax(1)[torch.arange(40), labels]
    assert float(right.min()) > 0.95
    assert float(without.mean()) == pytest.approx(0.2, abs=0.05)
    assert float(alone.min()) > 0.95
