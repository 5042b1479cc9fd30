"""What judging cost, and what it did not after all."""

from __future__ import annotations

from dataclasses import dataclass

from camfaith.models.counting import Tally


@dataclass
class Cost:
    """What a batch cost, and what it did not after all."""

    forwards: int = 0
    backwards: int = 0
    heads: int = 0
    shared: int = 0
    """Planned forwards that equal orders of pixels saved."""
    spared: int = 0
    """Planned forwards that curves with a tolerance did not need."""
    settled: int = 0
    """Planned forwards that were not made because their cell's place was settled."""
    failed: int = 0
    """Planned forwards that were not made because a method gave no map."""
    model_seconds: float = 0.0

    def add(self, other: Cost) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def count(self, tally: Tally) -> None:
        self.forwards += tally.forwards
        self.backwards += tally.backwards
