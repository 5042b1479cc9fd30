"""From an input that breaks a method down to a small one that still does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from camfaith.benchmark.conformance.subject import Case

TRIES = 60
"""At most so many smaller inputs are tried after a failure."""


@dataclass(frozen=True)
class Failure:
    """What was seen: what a method raised, and the class of that `error`, or what a check found, without one."""

    error: str
    seen: str


def shrunk(case: Case, failure: Failure, least: Case, broken: Callable[[Case], Failure | None]) -> tuple[Case, Failure]:
    """The smallest input below `case` that breaks in the same way, and what is seen there: batch, height, width and
    seed become, one after the other, the least that still breaks, from `least` up, until none shrinks any more or
    `TRIES` are used up.

    `broken` tells what is seen, or None where all is well.
    """
    tries, found = 0, True
    while found:
        found = False
        for smaller in _below(case, least):
            if tries == TRIES:
                return case, failure
            tries += 1
            told = broken(smaller)
            if told is not None and told.error == failure.error:
                case, failure, found = smaller, told, True
                break
    return case, failure


def _below(case: Case, least: Case) -> Iterator[Case]:
    """The inputs that are smaller in one thing, the smallest first."""
    for name in ("batch", "height", "width", "seed"):
        for value in range(getattr(least, name), getattr(case, name)):
            yield replace(case, **{name: value})
