"""Model calls: probes of many images and maps in, full batches through the network, scores out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from camfaith.metrics.ablation import ablate_channels, head
from camfaith.metrics.baselines import Baseline
from camfaith.metrics.case import Case, Maps
from camfaith.metrics.probes import Channels, ImageProbe, Keep, Probe
from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier


@dataclass(frozen=True)
class Answer:
    """The target's logit and log-probability on every altered image of a probe (B×n, float64)."""

    logit: Tensor
    log_probability: Tensor

    def of(self, score: str) -> Tensor:
        """The wanted score: `"probability"` or `"logit"`."""
        return self.log_probability.exp() if score == "probability" else self.logit

    def select(self, rows: Sequence[int] | None) -> Answer:
        """The same for some of the images; None for all."""
        return self if rows is None else Answer(self.logit[list(rows)], self.log_probability[list(rows)])


HEAD_BATCHES = 4
"""A head alone takes batches so many times as large as the whole network."""

Answers = Mapping[Probe, Answer]
T = TypeVar("T")


@dataclass
class Meter:
    """What the engine did: images through the network, passes through a head alone, and the time inside the model."""

    forwards: int = 0
    heads: int = 0
    seconds: float = 0.0
    shared: int = 0
    """Forwards that equal orders of pixels saved."""
    halvings: int = 0
    """How often the batch was halved because memory ran out."""


@dataclass(frozen=True)
class _Job:
    image: Tensor
    baseline: Tensor
    target: int
    keep: Keep
    out: Tensor  # n×2: logit, log-probability


@dataclass
class Engine:
    """Scores altered images in batches of `batch_size` that are filled across images, methods and steps.

    An image with pixels removed is x where the mask keeps it and b elsewhere. Batches lie in one preallocated
    channels-last buffer; when memory runs out the batch is halved.
    """

    classifier: Classifier
    batch_size: int = 64
    meter: Meter = field(default_factory=Meter)
    tick: Callable[[], None] | None = None
    """Called after every batch."""

    def answer(
        self, case: Case, wanted: Mapping[Hashable, tuple[Maps, Sequence[Probe]]]
    ) -> dict[Hashable, dict[Probe, Answer]]:
        """Every probe of every method answered, equal ones once. `wanted`: method → its maps and its probes.

        Maps of some of the images say which by their `rows`, and get answers for those.
        """
        jobs: list[_Job] = []
        tables: dict[Hashable, Tensor] = {}
        places: dict[tuple[Hashable, Probe], list[Hashable]] = {}
        answers: dict[Probe, Answer] = {}
        filled: dict[Baseline, Tensor] = {}
        for method, (maps, probes) in wanted.items():
            for probe in dict.fromkeys(probes):
                if isinstance(probe, Channels):
                    answers.setdefault(probe, _unanswered)
                    continue
                count = probe.count(case.pixels)
                keys: list[Hashable] = []
                for place, index in enumerate(maps.rows if maps.rows is not None else range(len(case))):
                    order = maps.ranks[place] if probe.per_map else None
                    key: Hashable = (probe, index, "" if order is None else _digest(order))
                    keys.append(key)
                    if key in tables:
                        self.meter.shared += count if probe.per_map else 0
                        continue
                    tables[key] = torch.empty(count, 2, dtype=torch.float64)
                    jobs.append(self._job(case, index, probe, order, filled, tables[key]))
                places[method, probe] = keys
        self._sparing(partial(self._stream, jobs, case))
        for probe in list(answers):
            if isinstance(probe, Channels):
                answers[probe] = self._channels(case, probe)
        return {
            method: {
                probe: answers[probe].select(maps.rows)
                if isinstance(probe, Channels)
                else _collect([tables[key] for key in places[method, probe]])
                for probe in dict.fromkeys(probes)
            }
            for method, (maps, probes) in wanted.items()
        }

    def _job(
        self,
        case: Case,
        index: int,
        probe: ImageProbe,
        order: Tensor | None,
        filled: dict[Baseline, Tensor],
        out: Tensor,
    ) -> _Job:
        if probe.baseline not in filled:
            filled[probe.baseline] = probe.baseline(case.images, case.seeds)
        keep = probe.keep(case, index, order)
        return _Job(case.images[index], filled[probe.baseline][index], int(case.targets[index]), keep, out)

    def _sparing(self, work: Callable[[], T]) -> T:
        """What `work` gives; done again with half the batch whenever memory runs out."""
        while True:
            try:
                with torch.inference_mode(), evaluating(self.classifier.network):
                    return work()
            except RuntimeError as error:
                if not _out_of_memory(error) or self.batch_size == 1:
                    raise
            self.batch_size //= 2
            self.meter.halvings += 1

    def _stream(self, jobs: Sequence[_Job], case: Case) -> None:
        height, width = case.size
        size = min(self.batch_size, sum(len(job.out) for job in jobs))
        if size == 0:
            return
        buffer = torch.empty(
            (size, *case.images.shape[1:]),
            dtype=case.images.dtype,
            device=case.images.device,
            memory_format=torch.channels_last,
        )
        row, pieces = 0, []
        for job, start, stop in _pieces(jobs, size):
            mask = job.keep(start, stop).view(stop - start, 1, height, width)
            torch.where(mask, job.image, job.baseline, out=buffer[row : row + stop - start])
            pieces.append((job, start, stop))
            row += stop - start
            if row == size:
                self._forward(buffer, pieces)
                row, pieces = 0, []
        if row:
            self._forward(buffer[:row], pieces)

    def _forward(self, images: Tensor, pieces: Sequence[tuple[_Job, int, int]]) -> None:
        began = time.perf_counter()
        logits = self.classifier(images).to(torch.float64)
        targets = torch.cat([torch.full((stop - start,), job.target) for job, start, stop in pieces]).to(logits.device)
        both = torch.stack([logits, logits.log_softmax(1)], 2)
        scores = both[torch.arange(len(targets), device=logits.device), targets].cpu()
        self.meter.seconds += time.perf_counter() - began
        self.meter.forwards += len(images)
        row = 0
        for job, start, stop in pieces:
            job.out[start:stop] = scores[row : row + stop - start]
            row += stop - start
        if self.tick:
            self.tick()

    def _channels(self, case: Case, probe: Channels) -> Answer:
        began = time.perf_counter()
        answers = []
        for index in range(len(case)):
            image = case.images[index : index + 1]
            logits, forwards, heads = self._sparing(partial(self._ablated, probe.layer, image))
            self.meter.forwards += forwards
            self.meter.heads += heads
            logits = logits.to(torch.float64)
            answers.append(torch.stack([logits, logits.log_softmax(1)], 2)[:, case.targets[index]].cpu())
        self.meter.seconds += time.perf_counter() - began
        return _collect(answers)

    def _ablated(self, layer: str, image: Tensor) -> tuple[Tensor, int, int]:
        alone = head(self.classifier, layer, image).alone
        return ablate_channels(self.classifier, layer, image, (HEAD_BATCHES if alone else 1) * self.batch_size)


_unanswered = Answer(torch.empty(0), torch.empty(0))


def _pieces(jobs: Sequence[_Job], size: int) -> Iterator[tuple[_Job, int, int]]:
    """The jobs' rows cut so that every `size` consecutive rows are one batch."""
    free = size
    for job in jobs:
        start = 0
        while start < len(job.out):
            stop = min(len(job.out), start + free)
            yield job, start, stop
            free = (free - (stop - start)) or size
            start = stop


def _collect(tables: Sequence[Tensor]) -> Answer:
    stacked = torch.stack(list(tables))
    return Answer(stacked[..., 0], stacked[..., 1])


def _digest(order: Tensor) -> bytes:
    return hashlib.blake2b(order.cpu().numpy().tobytes(), digest_size=16).digest()


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
