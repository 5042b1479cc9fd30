"""Deletion and insertion as RISE, torchcam and xplique run them: they differ in steps, ties, colours and area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Probe
from camfaith.metrics.curves import auc
from camfaith.metrics.presets.protocol import Protocol, covered, places, replacement
from camfaith.metrics.probing.baselines import Baseline, Black
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.models.classifier import ScoreKind


@dataclass(frozen=True)
class InOrder(ImageProbe):
    """The image with its most relevant pixels removed (`kept="rest"`), or with only them (`kept="top"`), for each of
    `counts`. The baseline is of the image as the network takes it; of equal pixels the first leaves first, or the
    `last`."""

    kept: Literal["rest", "top"]
    counts: tuple[int, ...]
    baseline: Baseline
    last: bool
    reads = "saliency"

    def count(self, pixels: int) -> int:
        return len(self.counts)

    def fill(self, subject: Subject) -> Fill:
        ranks = places(subject.read("saliency"), last=self.last)
        counts = torch.tensor(self.counts, device=ranks.device).view(-1, 1, 1, 1)

        def gone(start: int, stop: int) -> Tensor:
            return ranks < counts[start:stop] if self.kept == "rest" else ranks >= counts[start:stop]

        return covered(subject, replacement(subject, self.baseline), gone)


@dataclass(frozen=True, kw_only=True)
class OrderedCurve(Protocol):
    """The target's score as pixels leave or enter, and the area under it."""

    main = "auc"
    range = {"auc": (0, 1)}
    exempt = {"ties": "the protocol orders equal pixels by their place"}
    kept: ClassVar[Literal["rest", "top"]]
    last: ClassVar[bool]
    baseline: ClassVar[Baseline] = Black()
    output: ClassVar[ScoreKind] = "probability"
    needs_probability = True

    def counts(self, pixels: int) -> tuple[int, ...]:
        """How many pixels are changed at each point, from none to all."""
        raise NotImplementedError

    def shares(self, counts: Sequence[int]) -> Tensor:
        """The points on the x axis (n)."""
        return torch.linspace(0, 1, len(counts), dtype=torch.float64)

    def _asked(self, pixels: int) -> InOrder:
        counts = self.counts(pixels)
        return InOrder(self.kept, counts[1:] if self.kept == "rest" else counts[:-1], self.baseline, self.last)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._asked(pixels),)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        asked = self._asked(case.pixels)
        told, whole = answers[asked].of(self.output), case.whole(self.output)[:, None]
        y = torch.cat([whole, told] if self.kept == "rest" else [told, whole], 1)
        changed = "removed" if self.kept == "rest" else "inserted"
        return Line(self.shares(self.counts(case.pixels)), y, f"fraction of pixels {changed}", self.output)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        line = self.line(case, maps, answers)
        return {"auc": auc(line.y, line.x)}
