"""Model calls: probes of many images and maps in, full batches through the network, scores out."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answer, scores_in, stacked, table_of
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.journal import Journal
from camfaith.metrics.probing.probes import Blank, Channels, ImageProbe, Probe, Subject, subjects
from camfaith.metrics.probing.redrawn import Explained, Question, Redrawn
from camfaith.models.capture import inferring
from camfaith.models.classifier import Classifier
from camfaith.models.inside.ablation import TAIL_BATCH, ablate_channels, tail
from camfaith.models.penultimate import Penultimate, distance
from camfaith.models.speed.batches import halving
from camfaith.models.speed.counting import Tally, counting
from camfaith.models.speed.pace import Pace
from camfaith.models.speed.setup import Setup, arranged, going_by


class _Job:
    """One probe of one image, and of one map where it reads a map: asked in rounds until it has what it wants."""

    def __init__(self, probe: ImageProbe, subject: Subject) -> None:
        self.probe = probe
        self.target = int(subject.case.targets[subject.index])
        self.width = probe.told(subject.case.logits.shape[1])
        self.scores = torch.empty(0, self.width, dtype=torch.float64)
        self.at: Tensor | None = None
        self.index = subject.index
        self._rounds = probe.rounds(subject)
        self.count, self.fill = next(self._rounds)

    def goes_on(self, scores: Tensor) -> bool:
        """Tell the probe the scores of the last round; True if it asks for another."""
        try:
            self.count, self.fill = self._rounds.send(scores_in(scores))
        except StopIteration as end:
            self.at = end.value
            return False
        return True


@dataclass
class _Told:
    """One probe of one image whose scores are known."""

    scores: Tensor
    at: None = None


@dataclass
class Engine:
    """Scores altered images in full batches across images, methods and steps, as `setup` says.

    Batches share one preallocated buffer on the images' device, and the scores come back once, after the last batch.
    When memory runs out the batch is halved, and the work goes on where it was.
    """

    classifier: Classifier
    setup: Setup = field(default_factory=Setup)
    meter: Tally = field(default_factory=Tally)
    tick: Callable[[], None] | None = None
    """Called after every batch."""
    journal: Journal | None = None
    """What was told before, where the work is one that was stopped."""
    pace: Pace | None = None
    """Learns from the work how the network goes fastest, where `setup` is not measured."""
    batch_size: int = field(init=False)
    tail_batch: int = field(default=TAIL_BATCH, init=False)
    _penultimate: Penultimate = field(init=False, repr=False)
    _forward: Callable[[Tensor], Tensor] = field(init=False, repr=False)
    _buffer: Tensor = field(default_factory=lambda: torch.empty(0), init=False, repr=False)

    def __post_init__(self) -> None:
        self.batch_size = self.setup.batch_size
        self._penultimate = Penultimate(self.classifier.network)
        self._forward = self._arranged()

    def answer(
        self,
        case: Case,
        wanted: Mapping[Hashable, tuple[Maps, Sequence[Probe]]],
        told: Mapping[tuple[Probe, int], Tensor] | None = None,
    ) -> dict[Hashable, dict[Probe, Answer]]:
        """Answer every probe of every method, and equal ones once. `wanted`: method → its maps and its probes.

        Maps of only some images name them by `rows`, and get answers for those. `told`: the tables (see `stacked`) that
        probes of the image alone got before, by probe and image; they are not asked again.
        """
        told = told or {}
        jobs: dict[Hashable, _Job | _Told] = {}
        keys: dict[tuple[Hashable, Probe], list[Hashable]] = {}

        def known(index: int, blank: Blank) -> Tensor:
            return scores_in(jobs[blank, (index, "")].scores)

        for method, (maps, probes) in wanted.items():
            for probe in dict.fromkeys(probes):
                if isinstance(probe, Channels | Explained):
                    continue
                keys[method, probe] = []
                for question, subject in subjects(probe, case, maps, known):
                    key = probe, question
                    keys[method, probe].append(key)
                    if key not in jobs and probe.reads == "image" and (probe, subject.index) in told:
                        jobs[key] = _Told(told[probe, subject.index])
                    elif key not in jobs:
                        jobs[key] = _Job(probe, subject)
                    elif probe.reads != "image":
                        self.meter.shared += probe.count(case.pixels)
        asking = [job for job in jobs.values() if isinstance(job, _Job)]
        with inferring(self.classifier.network), self._penultimate.watched():
            self._finish(asking, case)
        self.meter.spared += sum(job.probe.count(case.pixels) - len(job.scores) for job in asking)
        asked = dict.fromkeys(probe for _, probes in wanted.values() for probe in probes)
        channels = {probe: self._channels(case, probe, told) for probe in asked if isinstance(probe, Channels)}
        redrawn = {
            probe: self._redrawn(case, probe, {key: maps for key, (maps, probes) in wanted.items() if probe in probes})
            for probe in asked
            if isinstance(probe, Explained)
        }

        def answered(method: Hashable, maps: Maps, probe: Probe) -> Answer:
            if isinstance(probe, Channels):
                return channels[probe].select(maps.rows)
            if isinstance(probe, Explained):
                return redrawn[probe][method]
            found = [jobs[key] for key in keys[method, probe]]
            return stacked((job.scores for job in found), [job.at for job in found if job.at is not None])

        return {
            method: {probe: answered(method, maps, probe) for probe in dict.fromkeys(probes)}
            for method, (maps, probes) in wanted.items()
        }

    def _finish(self, jobs: Sequence[_Job], case: Case) -> None:
        """Round by round, until no job asks for more. Those that want all logits have tables of their own."""
        while jobs:
            alike = [[job for job in jobs if job.width == width] for width in sorted({job.width for job in jobs})]
            told = [each for some in alike for each in zip(some, self._stream(some, case), strict=True)]
            for job, found in told:  # all of them, before a probe looks at what is known
                job.scores = torch.cat([job.scores, found])
            jobs = [job for job, found in told if job.goes_on(found)]

    def _stream(self, jobs: Sequence[_Job], case: Case) -> Sequence[Tensor]:
        """What jobs of one width are told of the images that they ask for now: a table each, on the CPU."""
        device, total = case.images.device, sum(job.count for job in jobs)
        counts = torch.tensor([job.count for job in jobs])
        targets = torch.tensor([job.target for job in jobs]).repeat_interleave(counts).to(device)
        rows = torch.tensor([job.index for job in jobs]).repeat_interleave(counts).to(device)
        table = torch.empty(total, jobs[0].width, dtype=torch.float64, device=device)
        stream = (self.journal or Journal()).begin([job.count for job in jobs], table)
        self.meter.forwards += stream.done

        def score(images: Tensor, start: int, stop: int) -> None:
            self._score(images, targets[start:stop], case.features_of(rows[start:stop]), table[start:stop])
            self.meter.forwards += stop - start
            stream.done = stop

        self._batch(jobs, case, score, stream.done)
        began = time.perf_counter()
        scores = table.cpu()
        self.meter.model_seconds += time.perf_counter() - began
        return torch.split(scores, [job.count for job in jobs])

    def _batch(
        self, jobs: Sequence[_Job], case: Case, work: Callable[[Tensor, int, int], None], start: int = 0
    ) -> None:
        """`work(images, start, stop)` on the images that the jobs ask for now, from one on, in full batches."""
        ends = list(accumulate(job.count for job in jobs))

        def step(start: int, batch: int) -> int:
            stop = min(start + batch, ends[-1])
            with torch.no_grad():
                images = self._filled(jobs, ends, start, stop, case)
            work(images, start, stop)
            return stop

        while start < ends[-1]:
            start = halving(self.batch_size, partial(step, start), self._halved)
            if self.tick:
                self.tick()

    def _redrawn(self, case: Case, probe: Explained, asking: Mapping[Hashable, Maps]) -> dict[Hashable, Answer]:
        """Every method that asks explains a probe's images anew, each method those of its own images.

        A batch has no more images than the case, since gradients and maps of all are kept. An engine of its own asks,
        since halving the batch arranges the network anew, and the probe may have altered it.
        """
        setup = replace(self.setup, batch_size=min(self.batch_size, len(case)), shortcuts=())
        engine, redrawn = Engine(self.classifier, setup, tick=self.tick), Redrawn(self.classifier, case, probe, asking)
        self.meter.shared += redrawn.shared * probe.count(case.pixels)
        with probe.within(self.classifier), going_by(replace(self.setup, batch_size=self.batch_size)):
            for questions in redrawn.passes():
                jobs = [_Job(probe, question.subject) for question in questions]
                of = [question for question, job in zip(questions, jobs, strict=True) for _ in range(job.count)]

                def explain(images: Tensor, start: int, stop: int, of: Sequence[Question] = of) -> None:
                    began = time.perf_counter()
                    with counting(self.classifier.network) as tally:
                        redrawn.add(images, of[start:stop])
                    self.meter.add(tally)
                    self.meter.model_seconds += time.perf_counter() - began

                engine._batch(jobs, case, explain)
        self.meter.halvings += engine.meter.halvings
        return {method: redrawn.answer(method) for method in asking}

    def _filled(self, jobs: Sequence[_Job], ends: Sequence[int], start: int, stop: int, case: Case) -> Tensor:
        """Images start to stop of all that are asked for, in the buffer."""
        images = self._space(stop - start, case)
        at, row = bisect_right(ends, start), start
        while row < stop:
            first = ends[at] - jobs[at].count
            until = min(stop, ends[at])
            jobs[at].fill(row - first, until - first, images[row - start : until - start])
            at, row = at + 1, until
        return images

    def _space(self, rows: int, case: Case) -> Tensor:
        shape = (max(rows, min(self.batch_size, len(self._buffer))), *case.images.shape[1:])
        like, have = case.images, self._buffer
        if have.shape[1:] != shape[1:] or len(have) < rows or (have.dtype, have.device) != (like.dtype, like.device):
            self._buffer = torch.empty(0)  # gone before the new one comes
            self._buffer = torch.empty(
                shape, dtype=like.dtype, device=like.device, memory_format=self.setup.memory_format
            )
        return self._buffer[:rows]

    def _score(self, images: Tensor, targets: Tensor, own: Tensor | None, out: Tensor) -> None:
        began = time.perf_counter()
        logits = self._forward(images)
        self.meter.model_seconds += time.perf_counter() - began
        drift = distance(self._penultimate.gathered(len(images)), own)
        out.copy_(table_of(self.classifier.head, logits, targets, drift, every=out.shape[1] > 4))

    def _arranged(self) -> Callable[[Tensor], Tensor]:
        if self.pace:
            return self.pace.forward(self._penultimate.after(self.classifier))
        padded = self.batch_size if "compile" in self.setup.shortcuts else 0
        with self._penultimate.watched():  # a copy of the network is watched for good
            forward = arranged(self.classifier, replace(self.setup, batch_size=self.batch_size))
        return self._penultimate.after(forward, padded)

    def _halved(self, batch: int) -> None:
        """Memory ran out: go on with that batch."""
        self.batch_size = batch
        self._forward = self._arranged()
        self._make_room()

    def _tail_halved(self, batch: int) -> None:
        self.tail_batch = batch
        self._make_room()

    def _make_room(self) -> None:
        self._buffer = torch.empty(0)
        self.meter.halvings += 1

    def _channels(self, case: Case, probe: Channels, told: Mapping[tuple[Probe, int], Tensor]) -> Answer:
        began = time.perf_counter()
        answers = []
        for index in range(len(case)):
            if (probe, index) in told:
                answers.append(told[probe, index])
                continue
            logits, forwards, tails = self._ablated(probe.layer, case.images[index : index + 1])
            self.meter.forwards += forwards
            self.meter.tails += tails
            targets, unknown = case.targets[index].expand(len(logits)), logits.new_full((len(logits),), torch.nan)
            answers.append(table_of(self.classifier.head, logits, targets, unknown, every=False).cpu())
            if self.tick:
                self.tick()
        self.meter.model_seconds += time.perf_counter() - began
        return stacked(answers)

    def _ablated(self, layer: str, image: Tensor) -> tuple[Tensor, int, int]:
        alone = tail(self.classifier, layer, image).alone
        return halving(
            self.tail_batch if alone else self.batch_size,
            lambda batch: ablate_channels(self.classifier, layer, image, batch),
            self._tail_halved if alone else self._halved,
        )
