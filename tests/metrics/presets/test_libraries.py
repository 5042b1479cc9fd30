"""Presets against the libraries whose protocols they follow, on photographs; each is skipped without its library."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn
from torch.nn import functional as F

from camfaith.methods import GradCAM
from camfaith.metrics import Case, preset
from camfaith.metrics.presets import pgc, quantus
from camfaith.models import load

PEERS = "pip install 'camfaith[peers]'"
EQUAL = 1e-4


@pytest.fixture(scope="module")
def scene():
    """A trained network, its layer's CAM, two photographs of 96×96 pixels, the predicted classes, and raw maps."""
    classifier = load("fundus-resnet")
    photographs = [torch.from_numpy(photograph[:384, :384].copy()) for photograph in (data.astronaut(), data.coffee())]
    pictures = F.interpolate(torch.stack(photographs).permute(0, 3, 1, 2) / 255, (96, 96), mode="area")
    cam = GradCAM(classifier)
    targets = classifier(pictures).argmax(1).tolist()
    raw = cam.raw(pictures, targets)
    return classifier, cam, pictures, targets, raw - raw.flatten(1).median(1).values[:, None, None]


@pytest.fixture
def judged(scene):
    """What a preset's metric says of the maps, rectified as the libraries have them."""
    classifier, cam, pictures, targets, raw = scene

    def judge(name, metric, column, **settings):
        found = preset(name, metric, **settings)(classifier, pictures, targets, raw.clamp(min=0), method=cam)
        return found[column].tolist()

    return judge


def test_torchcam(scene, judged):
    library = pytest.importorskip("torchcam.metrics", reason=f"torchcam is not installed; {PEERS}")
    core = importlib.import_module("torchcam.methods.core")
    classifier, _, pictures, targets, raw = scene

    class Extractor:
        """Gives the maps that are judged, as the library's own extractors do."""

        model = classifier.network

        def __call__(self, *_args, **_kwargs):
            return [core._CAM._normalize(raw.clamp(min=0))]

        def fuse_cams(self, cams):
            return cams[0]

        def _hooks_off(self):
            return nullcontext()

    taken, softmax = classifier.normalised(pictures), partial(torch.softmax, dim=-1)
    for kind in (library.ClassificationMetric, library.DeletionInsertionMetric):
        metric = kind(Extractor(), softmax)
        metric.update(taken, targets)
        names = {
            "avg_drop": "drop",
            "conf_increase": "increase",
            "deletion_auc": "deletion",
            "insertion_auc": "insertion",
        }
        for told, value in metric.summary().items():
            curve = names[told] in ("deletion", "insertion")
            ours = judged("torchcam", names[told], "auc") if curve else judged("torchcam", "average-drop", names[told])
            assert np.mean(ours) == pytest.approx(value, abs=EQUAL)


def test_pytorch_grad_cam(scene, judged, monkeypatch):
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason=f"grad-cam is not installed; {PEERS}")
    masked = importlib.import_module("pytorch_grad_cam.metrics.cam_mult_image")
    targets_of = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    classifier, cam, pictures, targets, raw = scene
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0.0, road.neighbors_weights))
    heat, softmax = pgc.heat_map(raw, (96, 96)).numpy(), [targets_of.ClassifierOutputSoftmaxTarget(t) for t in targets]
    assert (heat == 0).mean() > 0.1  # at the percentile 10, a threshold of 0 removes everything
    given = (classifier.normalised(pictures), heat, softmax, classifier.network)
    assert judged("pgc", "average-drop", "drop") == pytest.approx(masked.DropInConfidence()(*given), abs=EQUAL)
    assert judged("pgc", "average-drop", "increase") == masked.IncreaseInConfidence()(*given).tolist()
    assert judged("pgc", "road", "road", noise=0) == pytest.approx(road.ROADCombined()(*given), abs=EQUAL)

    def again(input_tensor, targets):
        mean, std = (torch.tensor(colour)[:, None, None] for colour in (classifier.mean, classifier.std))
        return pgc.heat_map(cam.raw(input_tensor * std + mean, scene[3]), (96, 96)).numpy()

    arcc = importlib.import_module("pytorch_grad_cam.metrics.arcc")
    taken, heat, softmax, network = given
    theirs = arcc.Coherency()(taken, heat, softmax, network, again)
    assert judged("pgc", "coherency", "coherency") == pytest.approx(theirs, abs=EQUAL)
    assert judged("pgc", "complexity", "complexity") == pytest.approx(arcc.Complexity()(heat), abs=EQUAL)
    assert judged("pgc", "arcc", "arcc", noise=0) == pytest.approx(arcc.ARCC(again)(*given), abs=EQUAL)


@pytest.fixture
def hedström(scene, monkeypatch):
    """Calls a metric of quantus on the photographs and maps."""
    library = pytest.importorskip("quantus", reason=f"quantus is not installed; {PEERS}")
    classifier, _, pictures, targets, raw = scene
    maps = F.interpolate(raw.clamp(min=0)[:, None], (96, 96), mode="bilinear").numpy()
    monkeypatch.setattr("numpy.argsort", partial(np.argsort, kind="stable"))  # its order of equal values is not defined

    def call(name, rows=slice(None), **settings):
        metric = getattr(library, name)(disable_warnings=True, return_aggregate=False, **settings)
        x = classifier.normalised(pictures).numpy()
        return metric(classifier.network, x[rows], np.array(targets)[rows], maps[rows], device="cpu")

    return call


def test_quantus(hedström, judged, scene, monkeypatch):
    told = hedström("PixelFlipping", features_in_step=768)
    flipping = judged("quantus", "pixel-flipping", "auc", features_in_step=768)
    assert flipping == pytest.approx(np.trapezoid(told, axis=1), abs=EQUAL)
    told = hedström("RegionPerturbation")
    assert judged("quantus", "region-perturbation", "aopc") == pytest.approx(np.mean(told, 1), abs=EQUAL)
    told = hedström("Selectivity")
    assert judged("quantus", "selectivity", "auc") == pytest.approx(np.trapezoid(told, axis=1), abs=EQUAL)
    classifier, _, pictures, targets, _ = scene
    case = Case.of(classifier, pictures, targets)
    members = [quantus.RandomFeatures(100, 224).members(case, index).flatten(1).numpy() for index in range(2)]
    draws = iter([members[image][run].nonzero()[0] for run in range(100) for image in range(2)])
    monkeypatch.setattr("numpy.random.choice", lambda *_args, **_kwargs: next(draws))
    told = hedström("FaithfulnessCorrelation")
    assert judged("quantus", "faithfulness-correlation", "correlation") == pytest.approx(told, abs=EQUAL)


def test_what_is_wrong_in_quantus_is_in_no_preset(hedström):
    assert hedström("Monotonicity", features_in_step=1152) == [True, True]
    with pytest.raises(ValueError, match="length"):
        hedström("SensitivityN", rows=slice(1), features_in_step=1152)
    with pytest.raises(AssertionError, match="shape"):
        hedström("IROF")
    with pytest.raises(IndexError):
        hedström("ROAD", percentages=[10])


class Dense(nn.Module):
    """Two layers on all pixels, simple enough to be written in another library."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.first = torch.randn(pixels, 16, generator=source) / pixels**0.5
        self.second = torch.randn(16, 5, generator=source) * 2

    def forward(self, images):
        return torch.relu(images.permute(0, 2, 3, 1).flatten(1) @ self.first) @ self.second


THEIRS = """
import sys, json, numpy as np, tensorflow as tf
from xplique import metrics
names = "x maps classes first second cells"
x, maps, classes, first, second, cells = (np.load(sys.argv[1])[name] for name in names.split())
network = lambda images: tf.nn.relu(tf.reshape(tf.cast(images, tf.float32), (-1, len(first))) @ first) @ second
logit = lambda model, images, classes: tf.reduce_sum(model(images) * classes, -1)
probability = lambda model, images, classes: tf.reduce_sum(tf.nn.softmax(model(images)) * classes, -1)
kept = tf.image.resize(cells[..., None], x.shape[1:3], method="nearest")
def perturb(images, count):
    masks = tf.repeat(kept[None], len(images), 0)
    return tf.reshape(tf.repeat(images[:, None], count, 1) * masks, (-1, *x.shape[1:])), masks
mu = metrics.MuFidelity(network, x, classes, batch_size=len(x) * 200, operator=logit)
mu._perturb_samples = perturb
found = {"mu-fidelity correlation": mu.evaluate(maps)}
for name in ("Deletion", "Insertion"):
    found[f"{name.lower()} auc"] = getattr(metrics, name)(network, x, classes, operator=logit).evaluate(maps)
for name, column in (("Drop", "drop"), ("Increase", "increase"), ("Gain", "gain")):
    kind = getattr(metrics, f"Average{name}Metric")
    found[f"average-drop {column}"] = kind(network, x, classes, operator=probability).evaluate(maps)
print(json.dumps({name: float(value) for name, value in found.items()}))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("xplique") is None or importlib.util.find_spec("tensorflow") is None,
    reason="xplique is not installed; pip install xplique",
)
def test_xplique(scene, tmp_path):
    """In a process of its own: TensorFlow and PyTorch do not always bear each other in one."""
    _, _, pictures, _, raw = scene
    taken, targets = pictures * 4 - 2, [1, 3]
    maps = F.interpolate(raw[:, None], (96, 96), mode="bilinear")[:, 0]
    maps = maps + 1e-4 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))  # no two are equal
    network = Dense(taken[0].numel())
    source = torch.Generator().manual_seed(0)
    cells = (torch.rand(200, 9, 9, generator=source) > 0.2).float()
    arrays = {"x": taken.permute(0, 2, 3, 1), "maps": maps, "classes": torch.eye(5)[targets], "cells": cells}
    given = tmp_path / "given.npz"
    np.savez(given, first=network.first, second=network.second, **{name: each.numpy() for name, each in arrays.items()})
    asked = [sys.executable, "-c", THEIRS, str(given)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=os.environ)
    for name, value in json.loads(done.stdout.splitlines()[-1]).items():
        metric, column = name.split()
        ours = preset("xplique", metric)(network, taken, targets, maps)[column]
        assert float(ours.mean()) == pytest.approx(value, abs=EQUAL), name
