"""What judging cost, and what it did not after all."""

from __future__ import annotations

from dataclasses import dataclass

from camfaith.metrics import Meter


@dataclass
class Cost(Meter):
    """What the engine and the methods did for a batch, and what was planned and not done."""

    settled: int = 0
    """Planned forwards that were not made because their cell's place was settled."""
    failed: int = 0
    """Planned forwards that were not made because a method gave no map."""
