"""Synthetic skin: the lesion decides the kind, its mask is exact, and several photographs show one lesion."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camfaith.benchmark.datasets.ham10000 import KINDS
from camfaith.benchmark.datasets.skin import kind_of, lesion_of, skin_photograph
from camfaith.benchmark.datasets.synthetic import Skin

SOME = [skin_photograph(index) for index in range(21)]


def test_the_same_arguments_give_the_same_bytes_and_others_do_not() -> None:
    assert skin_photograph(5).pixels.tobytes() == skin_photograph(5).pixels.tobytes()
    others = [skin_photograph(5), skin_photograph(5, seed=1), skin_photograph(5, split="train"), skin_photograph(26)]
    assert len({one.pixels.tobytes() for one in others}) == 4


def test_the_kinds_are_balanced_and_every_other_lesion_is_photographed_twice() -> None:
    assert Counter(photo.kind for photo in SOME) == dict.fromkeys(range(len(KINDS)), 3)
    assert sorted(Counter(photo.lesion for photo in SOME).values()) == [1] * 7 + [2] * 7


def test_only_the_lesion_differs_from_healthy_skin_and_nearly_all_of_it_does() -> None:
    for index, photo in enumerate(SOME):
        changed = (photo.pixels != skin_photograph(index, healthy=True).pixels).any(-1)
        assert not (changed & ~photo.mask).any()
        assert changed.sum() > 0.95 * (photo.mask & photo.content).sum()
        assert 0.05 < photo.mask.mean() < 0.35


def test_two_photographs_of_one_lesion_show_the_same_colours_in_another_place() -> None:
    pairs = [(a, b) for a in SOME for b in SOME if a.lesion == b.lesion and a is not b]
    for one, other in pairs:
        assert (one.mask != other.mask).mean() > 0.02
        colours = [p.pixels[p.mask] / p.pixels[~p.mask & p.content].mean(0) for p in (one, other)]
        assert np.abs(colours[0].mean(0) - colours[1].mean(0)).max() < 0.1


def test_another_size_shows_the_same_picture() -> None:
    for index in range(7):
        small, large = skin_photograph(index, size=64), skin_photograph(index, size=256)
        halved = large.pixels.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.corrcoef(halved.ravel(), small.pixels.ravel().astype(float))[0, 1] > 0.98
        assert (large.mask.reshape(64, 4, 64, 4).mean((1, 3)).round() == small.mask).mean() > 0.98


def test_dark_corners_are_outside_of_the_content_and_nothing_else_is() -> None:
    framed = [photo for photo in SOME if not photo.content.all()]
    assert 3 < len(framed) < 12
    for photo in framed:
        assert photo.pixels[~photo.content].mean() < 0.15 * photo.pixels[photo.content].mean()
        assert not photo.content[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_the_data_set_says_lesions_and_kinds_before_and_in_its_samples() -> None:
    data = Skin(samples=30, seed=3)
    assert (data.name, data.class_names, len(data)) == ("skin", KINDS, 30)
    for index, sample in enumerate(data[index] for index in range(30)):
        assert (sample.id, sample.label, sample.cluster) == (data.ids[index], data.labels[index], data.clusters[index])
        assert sample.label == kind_of(index)
        assert (data.clusters[index] == data.clusters[0]) == (lesion_of(index) == 0)
    assert data.clusters[0] != Skin(samples=1, seed=4).clusters[0]


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="index=-1"):
        skin_photograph(-1)
