"""The pictures of a data set, read once at a network's size."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from camfaith.benchmark.datasets import Sample, SampleError
from camfaith.benchmark.training import parting
from camfaith.benchmark.training.pictures import Pictures, read_pictures
from camfaith.models import Classifier


class Drawn:
    """Pictures of noise; what stands for one that cannot be used is raised, or its label."""

    name, class_names = "drawn", ("a", "b")

    def __init__(self, labels):
        self.labels_given, self.ids, self.read = labels, [f"s{i}" for i in range(len(labels))], 0

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        self.read += 1
        if isinstance(self.labels_given[index], Exception):
            raise self.labels_given[index]
        pixels = np.random.default_rng(index).integers(0, 256, (9, 13, 3), np.uint8)
        return Sample(self.ids[index], Image.fromarray(pixels), self.labels_given[index], cluster=f"c{index % 2}")


def network(side=6):
    return Classifier(nn.Conv2d(3, 2, 1), resize=(side, side))


def silent(done, total):
    pass


def test_pictures_are_those_that_the_classifier_prepares(tmp_path):
    data = Drawn([0, 1, (1,)])
    found = read_pictures(data, network(), tmp_path / "p", silent)
    prepared = torch.stack([network().prepare(data[i].image) for i in range(3)])
    assert np.allclose(found.pixels / 255, prepared, rtol=0, atol=1e-7)
    assert (found.labels.tolist(), list(found.clusters)) == ([0, 1, 1], ["c0", "c1", "c0"])


def test_what_cannot_be_used_is_left_out_and_told(tmp_path):
    bad = [SampleError("it is torn"), KeyError("x"), None, (0, 1), 2, -1]
    with pytest.warns(UserWarning, match="6 of 8 samples are left out, the first: s1: it is torn"):
        found = read_pictures(Drawn([0, *bad, 1]), network(), tmp_path / "p", silent)
    assert (list(found.ids), found.labels.tolist(), len(found.pixels)) == (["s0", "s7"], [0, 1], 2)
    with pytest.raises(ValueError, match="6 of 6 samples"):
        read_pictures(Drawn(bad), network(), tmp_path / "q", silent)
    assert len(read_pictures(Drawn([0] * 6), network(), tmp_path / "q", silent).ids) == 6  # once they are restored


def test_they_are_read_once_for_the_same_samples_and_size(tmp_path):
    data = Drawn([0, 1, SampleError("torn")])
    for times, side in ((3, 6), (3, 6), (6, 7), (9, 6)):
        with pytest.warns(UserWarning, match="left out"):
            found = read_pictures(data, network(side), tmp_path / "p", silent)
        assert (data.read, found.pixels.shape) == (times, (2, 3, side, side))
    first = found.digest()
    data.labels_given[1] = 0
    with pytest.warns(UserWarning, match="left out"):
        assert read_pictures(data, network(), tmp_path / "q", silent).digest() != first


def test_the_file_grows_as_they_are_read(tmp_path):
    """A file that is mapped before its room on the disk is taken ends the process where the disk is full."""
    sizes = []
    read_pictures(
        Drawn([0, 1] * 100), network(32), tmp_path / "p", lambda *_: sizes.append(sum(map(_size, tmp_path.rglob("*"))))
    )
    assert sizes[0] < sizes[-1] / 2


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def test_two_networks_that_begin_at_once_share_a_split(tmp_path, monkeypatch):
    labels = np.arange(80) % 2
    pictures = Pictures(np.zeros((80, 1, 1, 1), np.uint8), list(map(str, range(80))), labels, [None] * 80)
    found, made = {}, parting.split
    other = threading.Thread(target=lambda: found.update(other=part(1)))

    def part(seed):
        parts = parting.parts_of(pictures, tmp_path / "split.csv", ("a", "b"), seed)
        return {name: rows.tolist() for name, rows in parts.items()}

    def meanwhile(*given, **told):
        monkeypatch.setattr(parting, "split", made)
        other.start()
        other.join(0.5)
        return made(*given, **told)

    monkeypatch.setattr(parting, "split", meanwhile)
    found["first"] = part(0)
    other.join()
    assert found["other"] == found["first"] == part(2)
