"""Which metrics have a meaning for which networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.maps import Maps
from camfaith.metrics.probing.probes import Probe
from camfaith.models.heads import Head


def why_unfit(metric: Any, head: Head) -> str:
    """Why a metric has no meaning for networks with this head; "" where it has."""
    if head.gives_probabilities or not getattr(metric, "needs_probability", False):
        return ""
    advice = "; score = 'logit' takes the score itself" if hasattr(metric, "score") else ""
    return f"does not apply: it needs a probability, and head {head.name!r} gives none{advice}"


class Unfit:
    """Stands in for a metric that has no meaning for a network: it asks nothing, and its value is undefined."""

    def __init__(self, metric: Any, why: str) -> None:
        self.main, self.better, self.undefined = metric.main, metric.better, why

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return ()

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {self.main: torch.full((len(case),), torch.nan, dtype=torch.float64)}
