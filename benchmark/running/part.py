"""One model on one data set, part by part: read ahead, skip what is stored, drop what is settled, store the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from camfaith.benchmark.results.sequential import arrivals
from camfaith.benchmark.results.sequential import settled as settle
from camfaith.benchmark.results.store import RunFolder, RunFolderError
from camfaith.benchmark.running.accounting import Cost
from camfaith.benchmark.running.judging import judge
from camfaith.benchmark.running.planning import CellPlan, Settled
from camfaith.benchmark.running.reading import Complaint, Ready, read, same_size
from camfaith.benchmark.running.records import Records
from camfaith.benchmark.suite.declaration import Head
from camfaith.benchmark.suite.opening import Bench
from camfaith.metrics import Engine

Tell = Callable[[float, str], None]
"""Called with the forwards done since the last call, and what is being judged."""
_COMPARED = 4  # samples that are judged with and without shortcuts
Reading = tuple[list[Ready], list[Complaint]]


def judge_bench(
    folder: RunFolder, bench: Bench, cell: CellPlan, head: Head, run_id: str, cost: Cost, tell: Tell
) -> None:
    """Judge every part that the folder lacks, or, until all is settled, as many as that takes."""
    engine = Engine(bench.classifier, bench.setup)
    title, each = f"{bench.model} on {bench.data}", cell.forwards // cell.samples
    history: list[pd.DataFrame] = []
    for indices, reading in _read_ahead(bench, head):
        settled: Settled = _settled(history, bench, head)
        if len(settled) == len(bench.arms) * len(bench.judges):
            tell(each * (cell.samples - indices.start), title)
            return
        told = _ticking(engine, tell, title)
        ready, complaints = reading()
        key = part_key(bench, indices.start)
        if folder.has_part(key):
            _refuse_changed(folder, key, ready)
        else:
            records, spent = Records(run_id, str(head.target)), Cost()
            for complaint in complaints:
                records.complaint(bench.model, bench.data, complaint)
            for group in same_size(ready):
                _judge_group(bench, engine, group, records, spent, settled)
            spent.failed += (len(indices) - len(ready)) * each
            cost.add(spent)
            tables = records.tables()
            place = {bench.dataset.ids[index]: at for at, index in enumerate(indices)}
            tables["scores"] = tables["scores"].sort_values("sample", key=lambda s: s.map(place), kind="stable")
            folder.write_part(key, tables)
        if head.until == "separated":
            history.append(folder.part_table(key, "scores"))
        tell(each * len(indices) - told(), title)


def _read_ahead(bench: Bench, head: Head) -> Iterator[tuple[range, Callable[[], Reading]]]:
    """The parts' samples; beside an accelerator a thread reads each while the part before it is judged.

    A network on the CPU wants every processor: a second thread that computes makes its threads wait for each other
    through the kernel, which costs ten times what reading takes.
    """
    samples = len(bench.dataset)
    parts = [range(start, min(start + head.chunk, samples)) for start in range(0, samples, head.chunk)]
    if bench.classifier.device.type == "cpu":
        for indices in parts:
            yield indices, partial(read, bench, indices, head.seed, bench.classes)
        return
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(read, bench, indices, head.seed, bench.classes) for indices in parts[:2]]
        for place, indices in enumerate(parts):
            yield indices, waiting.pop(0).result
            if place + 2 < len(parts):
                waiting.append(reader.submit(read, bench, parts[place + 2], head.seed, bench.classes))


def _ticking(engine: Engine, tell: Tell, title: str) -> Callable[[], int]:
    """Tell of every batch that the engine makes from now on; gives how many forwards were told of."""
    start = last = engine.meter.forwards
    tell(0, title)

    def tick() -> None:
        nonlocal last
        tell(engine.meter.forwards - last, title)
        last = engine.meter.forwards

    engine.tick = tick
    return lambda: last - start


def _settled(history: Sequence[pd.DataFrame], bench: Bench, head: Head) -> Settled:
    if not history:
        return frozenset()
    judges = [judge for judge in bench.judges if judge.metric.main in judge.metric.better]
    main = {judge.label: judge.metric.main for judge in judges}
    return settle(arrivals(pd.concat(history), main), list(main), head.level, head.margin, len(bench.dataset))


def note_changes(folder: RunFolder, info: dict[str, Any], place: int, bench: Bench, head: Head) -> None:
    """Where shortcuts are taken, judge the first samples without them too, and write down how far scores moved."""
    noted = info["engine"][place]
    if not bench.setup.shortcuts or "largest_change" in noted:
        return
    ready, _ = read(bench, range(min(_COMPARED, len(bench.dataset))), head.seed, bench.classes)
    tables = []
    for shortcuts in ((), bench.setup.shortcuts):
        records = Records("", "")
        for group in same_size(ready):
            _judge_group(
                bench, Engine(bench.classifier, replace(bench.setup, shortcuts=shortcuts)), group, records, Cost()
            )
        tables.append(records.tables()["scores"])
    main = {judge.label: judge.metric.main for judge in bench.judges}
    exact, quick = (table[table["column"] == table["metric"].map(main)] for table in tables)
    both = exact.merge(quick, on=["sample", "method", "metric"], suffixes=("", "_quick"))
    moved = (both["value"] - both["value_quick"]).abs().groupby(both["metric"]).max()
    noted["largest_change"] = {str(metric): float(value) for metric, value in moved.items()}
    noted["compared_samples"] = len(ready)
    folder.write_info(info)


def _refuse_changed(folder: RunFolder, key: str, ready: Sequence[Ready]) -> None:
    """`RunFolderError` where the samples of a part are not those that it was made from.

    A sample that could not be used then has nothing to compare with: its row says so already.
    """
    stored, scores = folder.part_table(key, "pictures"), folder.part_table(key, "scores")
    unused = set(scores.loc[(scores["method"] == "") & (scores["status"] == "error"), "sample"])
    before = dict(zip(stored["sample"], stored["digest"], strict=True))
    now = {sample.id: sample.digest for sample in ready if sample.id not in unused}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise RunFolderError(
            f"sample {changed[0]!r} ({len(changed)} in all) is not as it was when {folder.path} was begun; "
            "give another folder, or overwrite that one"
        )


def _judge_group(
    bench: Bench, engine: Engine, group: Sequence[Ready], records: Records, cost: Cost, settled: Settled = frozenset()
) -> None:
    """Judge samples together; where something fails on them as a whole, each alone, so that it costs its own rows."""
    found = Records(records.run, records.policy)
    try:
        cost.add(judge(bench, engine, group, found, settled))
    except Exception as error:
        if len(group) > 1:
            for sample in group:
                _judge_group(bench, engine, [sample], records, cost, settled)
        else:
            complaint = Complaint(group[0].id, f"{type(error).__name__}: {error}")
            records.complaint(bench.model, bench.data, complaint)
    else:
        records.add(found)


def part_key(bench: Bench, start: int) -> str:
    """The name of a part's folder: safe on every file system, and different for different models and data."""
    names = f"{bench.model}\0{bench.data}"
    readable = "".join(c if c.isalnum() or c in "-." else "_" for c in f"{bench.model}--{bench.data}")[:80]
    return f"{readable}-{hashlib.sha256(names.encode()).hexdigest()[:8]}-{start:07d}"
