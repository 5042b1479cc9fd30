"""What is random in a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from camfaith.benchmark.training.randomness import Augmentation, batches, chances_for, class_weights, key

LABELS = np.array([0] * 20 + [1] * 10 + [3] * 3)


def test_an_epoch_takes_each_picture_once_in_batches_of_equal_size():
    first = batches(LABELS, 16, seed=0, epoch=0, balanced=False)
    assert sorted(np.concatenate(first)) == list(range(33))
    assert [len(rows) for rows in first] == [11, 11, 11]  # and not 16, 16 and a single one


@pytest.mark.parametrize("balanced", [False, True])
def test_the_order_follows_from_the_seed_and_the_epoch_alone(balanced):
    drawn = [batches(LABELS, 8, seed, epoch, balanced=balanced) for seed, epoch in ((5, 0), (5, 1), (6, 0), (5, 0))]
    assert drawn[0] == drawn[3]
    assert drawn[0] != drawn[1]
    assert drawn[0] != drawn[2]


def test_a_balanced_order_draws_each_class_alike():
    orders = [batches(LABELS, 33, seed=0, epoch=epoch, balanced=True)[0] for epoch in range(300)]
    drawn = LABELS[np.concatenate(orders)]
    shares = np.bincount(drawn) / len(drawn)
    assert shares == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)


def test_class_weights_are_scikit_learns_and_0_for_a_class_without_a_picture():
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=LABELS)
    assert class_weights(LABELS, 5).tolist() == pytest.approx([theirs[0], theirs[1], 0, theirs[2], 0])


def test_keys_differ_wherever_their_numbers_do():
    numbers = [(seed, epoch, batch) for seed in range(5) for epoch in range(12) for batch in range(12)]
    assert len({key(*each) for each in numbers}) == len(numbers)
    assert all(0 <= key(*each) < 2**63 for each in numbers)


@pytest.fixture
def images():
    return torch.rand(2, 3, 12, 12) * 0.5


def chances(**said):
    """0.5 changes nothing."""
    names = ("turn", "zoom", "sideways", "upside_down", "light", "red", "green", "blue")
    assert chances_for(3) == len(names)
    return torch.tensor([[said.get(name, 0.5) for name in names]] * 2)


BOLD = Augmentation(turn=90, upside_down=True, zoom=0.5, light=0.5, colour=0.2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, lambda x: x),
        ({"turn": 1.0}, lambda x: x.rot90(1, (2, 3))),
        ({"turn": 0.0}, lambda x: x.rot90(-1, (2, 3))),
        ({"sideways": 0.2}, lambda x: x.flip(3)),
        ({"upside_down": 0.2}, lambda x: x.flip(2)),
        ({"light": 1.0}, lambda x: x * 1.5),
        ({"green": 0.0}, lambda x: x * torch.tensor([1, 0.8, 1]).view(1, 3, 1, 1)),
    ],
)
def test_each_chance_changes_one_thing(images, said, expected):
    assert torch.allclose(BOLD(images, chances(**said)), expected(images), atol=1e-5)


def test_zooming_out_mirrors_the_picture_at_its_edges_and_black_stays_black(images):
    left = torch.zeros(2, 3, 12, 12)
    left[..., :6] = 0.4
    out = BOLD(left, chances(zoom=0.0))  # half as large: columns 3 to 8 show it, and mirrors of it the others
    assert out[0, 0, 6].tolist() == pytest.approx([0.4] * 6 + [0] * 6, abs=1e-5)
    assert BOLD(torch.zeros(2, 3, 8, 8), torch.rand(2, 8)).max() == 0


def test_pictures_stay_upright_where_nothing_else_is_said(images):
    assert torch.allclose(Augmentation(turn=0)(images, chances(upside_down=0.0)), images, atol=1e-5)
