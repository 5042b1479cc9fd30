"""Work on batches that goes on where a whole batch fails: half of it where memory runs out, each alone elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from camfaith.models.errors import RAISED, text_of

Row = TypeVar("Row")
Found = TypeVar("Found")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text_of(error)


def halving(batch: int, work: Callable[[int], Found], halved: Callable[[int], None] = lambda _: None) -> Found:
    """`work(batch)`, with half the batch again and again where memory runs out; `halved(batch)` is told each time."""
    while True:
        try:
            return work(batch)
        except RuntimeError as error:
            if not out_of_memory(error) or batch == 1:
                raise
        batch //= 2  # out here, where the error holds no memory any more
        halved(batch)


def each_alone(
    rows: Sequence[Row],
    work: Callable[[Sequence[Row]], object],
    failed: Callable[[Row, BaseException], object],
    *,
    halve: bool = True,
) -> None:
    """`work(rows)`; where that fails, the same of each row alone, and `failed(row, error)` where that fails too.

    Where memory runs out, of each half first; without `halve` the error is raised, for whoever made the batch to halve.
    """
    parts: list[Sequence[Row]]
    try:
        work(rows)
        return
    except RAISED as error:
        if len(rows) == 1:
            failed(rows[0], error)
            return
        if out_of_memory(error):
            if not halve:
                raise
            middle = len(rows) // 2
            parts = [rows[:middle], rows[middle:]]
        else:
            parts = [rows[at : at + 1] for at in range(len(rows))]
    for part in parts:
        each_alone(part, work, failed, halve=halve)
