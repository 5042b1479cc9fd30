"""Values whose true mean is 0, as metrics give them: rows of samples, and where there are clusters whose each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROWS = 1000
"""So many rows are drawn at once."""


def lognormal(rng: Generator, rows: int, n: int) -> Floats:
    return rng.lognormal(size=(rows, n)) - np.exp(0.5)


def off_the_atom(share: float) -> Callable[[Generator, int, int], Floats]:
    """In [0, 1]: 1, but for this share, which is uniform."""
    return lambda rng, rows, n: np.where(rng.random((rows, n)) < share, rng.random((rows, n)), 1) - 1 + share / 2


def ties(share: float, rest: Callable[[Generator, int, int], Floats]) -> Callable[[Generator, int, int], Floats]:
    """0 for this share."""
    return lambda rng, rows, n: np.where(rng.random((rows, n)) < share, 0, rest(rng, rows, n))


def normal(rng: Generator, rows: int, n: int) -> Floats:
    return rng.normal(size=(rows, n))


def exponential(rng: Generator, rows: int, n: int) -> Floats:
    return rng.exponential(size=(rows, n)) - 1


VALUES: dict[str, Callable[[Generator, int, int], Floats]] = {
    "normal": normal,
    "exponential": exponential,
    "lognormal": lognormal,
    "in [0, 1], 30 % off the atom": off_the_atom(0.3),
    "in [0, 1], 10 % off the atom": off_the_atom(0.1),
    "Student's t, 3 degrees": lambda rng, rows, n: rng.standard_t(3, (rows, n)),
}
DIFFERENCES = {
    "normal": normal,
    "Student's t, 3 degrees": VALUES["Student's t, 3 degrees"],
    "half ties, the rest normal": ties(0.5, normal),
    "exponential": exponential,
    "lognormal": lognormal,
    "70 % ties, the rest exponential": ties(0.7, exponential),
    "10 % off the atom": off_the_atom(0.1),
}
CLUSTERS = "clusters of 1 to 7, skewed"


def drawn(name: str, rng: Generator, rows: int, n: int) -> tuple[Floats, Sequence[Any] | None]:
    """Rows of n samples, or of n clusters whose members are half alike, and the cluster of each sample."""
    if name != CLUSTERS:
        return {**VALUES, **DIFFERENCES}[name](rng, rows, n), None
    units = np.repeat(np.arange(n), rng.integers(1, 8, n))
    return exponential(rng, rows, n)[:, units] + rng.normal(size=(rows, len(units))), units.tolist()


def portions(rows: int) -> list[int]:
    return [min(ROWS, rows - start) for start in range(0, rows, ROWS)]
