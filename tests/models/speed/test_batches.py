"""Work goes on where a whole batch fails."""

from __future__ import annotations

import pytest
import torch

from camfaith.models.speed.batches import each_alone, halving


def cramped(room, bad=()):
    """Work that has memory for so many rows, and fails on some; and the batches that it was given."""
    asked = []

    def work(rows):
        asked.append(list(rows))
        if len(rows) > room:
            raise torch.OutOfMemoryError("too many")
        if set(rows) & set(bad):
            raise ArithmeticError(f"not {rows}")

    return work, asked


@pytest.mark.parametrize(
    ("room", "bad", "expected", "lost"),
    [
        (4, (), [[0, 1, 2, 3]], []),
        (4, (1,), [[0, 1, 2, 3], [0], [1], [2], [3]], [1]),
        (2, (), [[0, 1, 2, 3], [0, 1], [2, 3]], []),
        (2, (3,), [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]], [3]),
        (0, (), [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3], [2], [3]], [0, 1, 2, 3]),
    ],
)
def test_a_failure_costs_its_own_row(room, bad, expected, lost):
    work, asked = cramped(room, bad)
    failed = []
    each_alone(range(4), work, lambda row, _error: failed.append(row))
    assert (asked, failed) == (expected, lost)


def test_whoever_made_the_batch_may_halve_it():
    work, asked = cramped(2)
    with pytest.raises(torch.OutOfMemoryError):
        each_alone(range(4), work, print, halve=False)
    told = []
    assert halving(8, lambda batch: work(range(batch)) or batch, told.append) == 2
    assert (told, [len(rows) for rows in asked]) == ([4, 2], [4, 8, 4, 2])
    with pytest.raises(torch.OutOfMemoryError):
        halving(8, lambda _: cramped(0)[0]([1]))
    with pytest.raises(ArithmeticError, match="not"):
        halving(8, lambda _: cramped(1, [1])[0]([1]))
