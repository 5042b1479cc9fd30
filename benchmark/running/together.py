"""What is known of a method on some samples, and which methods a metric judges in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.suite.arms import Judge
from camfaith.metrics import Case, Maps
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.probes import Probe
from camfaith.models.maps import is_constant


@dataclass(frozen=True)
class Mapped:
    """A method that has maps of some samples, and the answers to what metrics asked about these."""

    arm: Any
    found: Explanations
    maps: Maps
    answers: Answers

    @property
    def rows(self) -> Sequence[int]:
        """The places of its samples among all."""
        return range(len(self.maps.case)) if self.maps.rows is None else self.maps.rows

    @cached_property
    def flat(self) -> list[bool]:
        """Which of its maps are constant."""
        found: list[bool] = is_constant(self.maps.saliency).tolist()
        return found

    def failures(self, asked: Sequence[Probe]) -> list[str]:
        """What went wrong on each sample's altered images; nothing: ""."""
        found = [""] * len(self.rows)
        for answer in (self.answers[probe] for probe in asked):
            for place in (~torch.isfinite(answer.logit).all(1)).nonzero().flatten().tolist():
                found[place] = "the model gave NaN or infinite logits on an altered image"
            for place, why in answer.failures.items():
                found[place] = why
        return found

    def select(self, rows: Sequence[int], case: Case) -> Mapped:
        """The same of some of its samples, those of `case`."""
        if self.maps.case is case:
            return self
        at = [list(self.rows).index(row) for row in rows]
        answers = {probe: answer.select(at) for probe, answer in self.answers.items()}
        return Mapped(self.arm, self.found, self.maps.select(at, rows, case), answers)


def groups(judge: Judge, case: Case, methods: Sequence[Mapped]) -> list[list[Mapped]]:
    """The methods that a metric judges in one call: each alone, or, where it is over several, those that have maps of
    the same samples. A method whose altered images failed is apart there: the others are judged without it."""
    if not judge.is_over_several:
        return [[one] for one in methods]
    failed = [_failed(judge, one) for one in methods]
    samples: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(case)):
        there = [place for place, one in enumerate(methods) if row in one.rows]
        apart = [(place,) for place in there if row in failed[place]]
        for group in filter(None, (tuple(place for place in there if row not in failed[place]), *apart)):
            samples.setdefault(group, []).append(row)
    found = []
    for group, rows in samples.items():
        own = case if len(rows) == len(case) else case.select(rows)
        found.append([methods[place].select(rows, own) for place in group])
    return found


def _failed(judge: Judge, one: Mapped) -> set[int]:
    asked = [probe for probe in judge.planned(one.maps.layer, one.maps.case.pixels) if probe in one.answers]
    return {row for row, why in zip(one.rows, one.failures(asked), strict=True) if why}
