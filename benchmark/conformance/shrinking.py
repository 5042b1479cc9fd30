"""Shrinks an input that breaks a check to a small one that still breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from camfaith.benchmark.conformance.trials import Trial

TRIES = 60
"""So many smaller inputs, at most, are tried after a failure."""


@dataclass(frozen=True)
class Failure:
    """What was seen: what a check found, or what was raised, with the class of that `error`."""

    error: str
    seen: str


def shrunk(
    trial: Trial, failure: Failure, least: Trial, broken: Callable[[Trial], Failure | None]
) -> tuple[Trial, Failure]:
    """The smallest input below `trial` that breaks in the same way, and what is seen there. Batch, height, width and
    seed shrink in turn to the least value, from `least` up, that still breaks, until none shrinks any more or `TRIES`
    are used up.

    `broken` returns what is seen, or None if all is well.
    """
    tries, found = 0, True
    while found:
        found = False
        for smaller in _below(trial, least):
            if tries == TRIES:
                return trial, failure
            tries += 1
            told = broken(smaller)
            if told is not None and told.error == failure.error:
                trial, failure, found = smaller, told, True
                break
    return trial, failure


def _below(trial: Trial, least: Trial) -> Iterator[Trial]:
    """The inputs that are smaller in one respect, the smallest first."""
    for name in ("batch", "height", "width", "seed"):
        for value in range(getattr(least, name), getattr(trial, name)):
            yield replace(trial, **{name: value})
