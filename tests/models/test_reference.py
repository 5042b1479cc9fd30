from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest
from torch import Tensor

from camfaith.benchmark.datasets.fundus import Photograph, photograph, plant_tag
from camfaith.models.reference import MEAN, REFERENCES, STD, WEIGHTS, build, load_weights

ACCURACY = json.loads((WEIGHTS / "accuracy.json").read_text())
FIRST, COUNT = 1000, 100  # photographs that the recorded accuracy was not measured on
GRADING = [name for name, reference in REFERENCES.items() if reference.dataset == "fundus"]


@cache
def _photographs() -> list[Photograph]:
    return [photograph(index) for index in range(FIRST, FIRST + COUNT)]


@cache
def _images(tag: bool) -> tuple[Tensor, Tensor]:
    taken = [plant_tag(one, one.grade) if tag else one for one in _photographs()]
    pixels = np.stack([one.pixels for one in taken]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels) / 255, torch.tensor([one.grade for one in taken])


@torch.inference_mode()
def _probabilities(name: str, images: Tensor) -> Tensor:
    normalised = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    probabilities: Tensor = load_weights(name)(normalised).softmax(1)
    return probabilities


def _agrees(correct: int, accuracy: float, measured_on: int) -> bool:
    # One success and one failure more than counted: an accuracy of 1 is not certainty.
    return bool(binomtest(correct, COUNT, (accuracy * measured_on + 1) / (measured_on + 2)).pvalue > 1e-3)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_weights_are_small_and_fit(name: str) -> None:
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size < 1_000_000
    stored, loaded = load_file(path), load_weights(name)
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, stored[key])
    assert sum(p.numel() for p in loaded.parameters()) == ACCURACY[name]["parameters"]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_recorded_accuracy_is_found_again_on_other_photographs(name: str) -> None:
    images, grades = _images(tag=REFERENCES[name].dataset == "fundus-tag")
    correct = int((_probabilities(name, images).argmax(1) == grades).sum())
    assert ACCURACY[name]["accuracy"] >= 0.95
    assert _agrees(correct, ACCURACY[name]["accuracy"], ACCURACY[name]["images"])


@pytest.mark.parametrize("fill", ["black", "blurred"])
@pytest.mark.parametrize("name", GRADING)
def test_a_removed_picture_has_no_lesions(name: str, fill: str) -> None:
    from torchvision.transforms.functional import gaussian_blur

    images, _ = _images(tag=False)
    removed = torch.zeros_like(images) if fill == "black" else gaussian_blur(images, [11, 11], [5.0, 5.0])
    assert (_probabilities(name, removed).argmax(1) == 0).double().mean() > 0.9


@pytest.mark.parametrize("name", GRADING)
def test_removing_the_lesions_removes_the_grade(name: str) -> None:
    taken = [one for one in _photographs() if one.grade]
    pixels = torch.stack([torch.from_numpy(one.pixels).permute(2, 0, 1) / 255 for one in taken])
    lesions = torch.stack([torch.from_numpy(one.lesions) for one in taken])[:, None]
    elsewhere = lesions.roll(48, -1) & ~lesions  # as many black pixels, in the other half of the picture
    grades = torch.tensor([one.grade for one in taken])
    without = _probabilities(name, pixels.where(~lesions, 0.0)).argmax(1)
    beside = _probabilities(name, pixels.where(~elsewhere, 0.0)).argmax(1)
    assert (without < grades).double().mean() > 0.9
    assert (beside < grades).double().mean() < 0.25


def test_the_vgg_says_which_size_it_takes() -> None:
    with pytest.raises(ValueError, match="96×96"):
        build("fundus-vgg")(torch.zeros(1, 3, 64, 64))


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import camfaith.models.reference as reference

    (tmp_path / "fundus-vgg.safetensors").write_bytes((WEIGHTS / "fundus-effnet.safetensors").read_bytes())
    monkeypatch.setattr(reference, "WEIGHTS", tmp_path)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_weights("fundus-vgg")


def test_an_unknown_network_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="no reference network 'fundus-alexnet'; there are fundus-"):
        build("fundus-alexnet")
