"""One part: what is missing of a span's samples, judged and turned into tables, whoever runs it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from camfaith.benchmark.results.folder import Note
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.judging import judge, judge_again
from camfaith.benchmark.running.known import Known
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.planning import BlockPlan, plan_block
from camfaith.benchmark.running.reading import Complaint, Ready, read, same_size
from camfaith.benchmark.running.records import Place, Records
from camfaith.benchmark.running.unfinished import Unfinished
from camfaith.benchmark.suite.identity import NUMERICAL, libraries
from camfaith.metrics import Engine
from camfaith.models.errors import kind_and_text
from camfaith.models.speed.batches import each_alone
from camfaith.models.speed.counting import Tally
from camfaith.models.speed.setup import thread_count, threads_of

Read = Callable[[], tuple[list[Ready], list[Complaint]]]


@dataclass(frozen=True)
class Made:
    """A part before it is written."""

    note: Note
    tables: Mapping[str, pa.Table]
    traces: Mapping[str, str]
    """The first error of each method and metric that failed, with the way that led there."""


def make_parts(
    block: Block,
    work: Work,
    known: Known,
    run: str,
    engine: Engine | None,
    kept_at: Path,
    reading: Read | None = None,
) -> Iterator[Made]:
    """What is missing of a span's samples, a part for each size of image. Without an `engine` no network is asked: all
    is there to be judged again. What a stopped run had of it lies at `kept_at`."""
    complaints: list[Complaint] = []
    if engine is None:
        ids = [block.dataset.ids[index] for index in work.samples]
        ready = [known.ready(name, block.suite.suite.seed) for name in ids]
    else:
        ready, complaints = read_samples(block, work) if reading is None else reading()
    lost = [complaint for complaint in complaints if not complaint.used]
    if work.kept and lost:
        text = f"sample {lost[0].sample!r} ({len(lost)} in all) could be used before and cannot now: {lost[0].error}"
        warnings.warn(f"{block.title}: {text}; what is missing of it stays so", stacklevel=2)
    for place, group in enumerate(same_size(ready) or [[]]):
        about = {sample.id for sample in group}
        own = [c for c in complaints if c.sample in about or (not c.used and not place)]
        about |= {complaint.sample for complaint in own}
        part = replace(work, samples=tuple(i for i in work.samples if block.dataset.ids[i] in about))
        yield _make(block, part, known, Records(run, str(block.suite.suite.policy)), engine, kept_at, group, own)


def read_samples(block: Block, work: Work) -> tuple[list[Ready], list[Complaint]]:
    """The samples of some work as the model takes them, and what is wrong with those that cannot be used."""
    return read(block.bench, work.samples, block.suite.suite.seed, block.bench.classes)


def _make(
    block: Block,
    work: Work,
    known: Known,
    records: Records,
    engine: Engine | None,
    kept_at: Path,
    group: Sequence[Ready],
    complaints: Sequence[Complaint],
) -> Made:
    """One part, of samples of one size."""
    began, tally, planned = time.perf_counter(), Tally(), BlockPlan(block.model.label, block.data, len(group))
    unusable = {complaint.sample: complaint.digest for complaint in complaints if not complaint.used}
    for complaint in complaints if not work.kept else ():
        records.complaint(_place(block, complaint.sample), complaint)
    if engine is None:
        judge_again(block, group, work, known, records)
    else:
        planned = plan_block(block, [work])
        tally.failed += planned.forwards // len(work.samples) * len(unusable)
        if group:
            tally.add(_judge_group(block, engine, kept_at, group, work, known, records, unusable))
    tally.seconds = round(time.perf_counter() - began, 3)
    usable = {sample.id: sample.digest for sample in group if sample.id not in unusable}
    pixels = group[0].image[0].numel() if group else 0
    note = _note(block, work, usable, unusable, pixels, records, planned, tally, engine)
    return Made(note, records.tables(), records.traces)


def _judge_group(
    block: Block,
    engine: Engine,
    kept_at: Path,
    group: Sequence[Ready],
    work: Work,
    known: Known,
    records: Records,
    unusable: dict[str, str],
) -> Tally:
    """Judge samples together; where something fails on them as a whole, each alone, so that it costs its own rows."""
    tally = Tally()

    def judge_some(samples: Sequence[Ready]) -> None:
        found, unfinished = Records(records.run, records.policy), Unfinished(kept_at, block, work, samples)
        with unfinished.kept(), threads_of(block.bench.setup):
            tally.add(judge(block, engine, samples, work, known, found, unfinished))
        records.add(found)

    def complain(sample: Ready, error: BaseException) -> None:
        unusable[sample.id] = sample.digest
        complaint = Complaint(sample.id, kind_and_text(error), digest=sample.digest)
        records.complaint(_place(block, sample.id), complaint)

    each_alone(group, judge_some, complain)
    return tally


def _place(block: Block, sample: str) -> Place:
    return Place(block.context, block.model.label, block.data, sample)


def _note(
    block: Block,
    work: Work,
    usable: Mapping[str, str],
    unusable: Mapping[str, str],
    pixels: int,
    records: Records,
    planned: BlockPlan,
    tally: Tally,
    engine: Engine | None,
) -> Note:
    metrics = {judge_.label: judge_.key for judge_ in block.judges}
    keys = {method.label: method.key for method in block.methods}
    arms = {arm.label: arm for arm in block.bench.arms} if work.fresh else {}
    answered: dict[str, set[str]] = {}
    for row in records.rows["answers"]:
        answered.setdefault(row["probe"], set()).add(row["sample"])
    return Note(
        context=block.context,
        model=block.model.label,
        dataset=block.data,
        samples=usable,
        unusable=unusable,
        cells={keys[label]: [metrics[metric] for metric in judges] for label, judges in work.cells.items()},
        maps={
            keys[label]: {"explains": arms[label].layer, "layers": list(arms[label].needed_layers)}
            for label in sorted(work.fresh)
        },
        answers=sorted(probe for probe, samples in answered.items() if samples >= set(usable)),
        pictures="" if work.kept else block.suite.suite.pictures,
        pixels=pixels,
        made={} if engine is None else conditions(block),
        versions=libraries("camfaith", *NUMERICAL),
        planned={**asdict(planned.shared), "unshared": planned.unshared.forwards},
        tally=asdict(tally),
        files={},
    )


def conditions(block: Block) -> dict[str, Any]:
    """What moves the last digits of a number and is in no key: device, threads, batch, layout and fusing."""
    setup = block.bench.setup
    told = {name: getattr(setup, name) for name in ("batch_size", "channels_last", "fused")}
    return {"device": block.bench.classifier.device.type, "threads": thread_count(setup), **told}
