"""Running a suite: plan, judge part by part, store, resume."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from camfaith.benchmark import provenance
from camfaith.benchmark.judging import Cost, judge
from camfaith.benchmark.planning import Plan, plan_benches
from camfaith.benchmark.reading import Complaint, Ready, read, same_size
from camfaith.benchmark.records import Records
from camfaith.benchmark.store import Result, RunFolder, RunFolderError
from camfaith.benchmark.suite import Suite, digest
from camfaith.benchmark.workbench import Bench, open_benches
from camfaith.metrics import Engine
from camfaith.models import Classifier

Progress = Callable[[int, int, str], None]
"""Called with the forwards done, the forwards planned, and what is being judged."""


def run(
    suite: Suite | Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    methods: Sequence[Any] | None = None,
    metrics: Sequence[Any] | None = None,
    models: Sequence[Any] | None = None,
    datasets: Sequence[Any] | None = None,
    limit: int | None = None,
    seed: int | None = None,
    target: str | int | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run a suite and store everything in the folder `out` (a new one below `runs/` where None).

    `suite` is a shipped name, a TOML file, a mapping like one, or a `Suite`; the keywords replace parts of it. Methods,
    metrics and data sets are names or tables, models are names, tables, or networks (a `Classifier` or `nn.Module`).
    A run into the folder of the same suite, models, data and code goes on where it stopped and ends with the same
    numbers; `overwrite` starts it anew, whatever the folder holds.

    Raises before anything is run: `SuiteError`, `UnknownName`, `LayerError`, `RunFolderError` (another suite's folder,
    or one that is being written). What fails later costs its own rows. `OSError` where results cannot be written.
    """
    chosen_models = None if models is None else [Classifier.of(m) if isinstance(m, nn.Module) else m for m in models]
    given = {m.name: m for m in chosen_models or () if isinstance(m, Classifier)}
    names = chosen_models and [{"name": m.name} if isinstance(m, Classifier) else m for m in chosen_models]
    chosen = Suite.of(suite, data=data).changed(
        methods=methods,
        metrics=metrics,
        models=names,
        datasets=datasets,
        limit=limit,
        seed=seed,
        target=target,
        device=device,
    )
    benches = open_benches(chosen, given)
    folder = RunFolder(out if out is not None else new_folder(chosen.suite.name))
    with folder.writing():
        if overwrite:
            folder.clear()
        plan = plan_benches(benches, chosen.suite.batch_size)
        info = _start(folder, chosen, benches, plan)
        began, cost, before = time.perf_counter(), Cost(), info.get("cost", {})
        try:
            _judge_all(folder, chosen, benches, plan, info["run"], cost, progress)
        except BaseException:
            with suppress(OSError):  # the disk may be full: what stopped the run is what must be told
                folder.write_info(info | {"cost": _added(before, cost, time.perf_counter() - began)})
            raise
        cost_so_far = _added(before, cost, time.perf_counter() - began)
        folder.write_info(info | {"cost": cost_so_far, "status": "complete"})
    return Result(folder.path)


def new_folder(name: str) -> Path:
    """A folder below `runs/` that is not there yet."""
    return Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"


def _start(folder: RunFolder, suite: Suite, benches: Sequence[Bench], plan: Plan) -> dict[str, Any]:
    """The run's `run.json`: new, or that of the run which goes on."""
    described = provenance.describe(benches)
    same = {
        "suite": suite.key,
        "models": [m["key"] for m in described["models"]],
        "datasets": [d["ids_hash"] for d in described["datasets"]],
        "metrics": provenance.metrics_hash(benches[0].judges),
        "code": provenance.code_hash(benches),
    }
    if folder.exists():
        info = folder.info
        for what, value in same.items():
            if info.get("identity", {}).get(what) != value:
                name = info.get("suite", {}).get("name", "unknown")
                raise RunFolderError(
                    f"{folder.path} holds a run of {'another suite' if what == 'suite' else f'other {what}'} "
                    f"({name!r}); give another folder, or overwrite that one"
                )
        return info
    if folder.parts:
        raise RunFolderError(
            f"{folder.path} holds results whose run.json is gone, so nobody knows what made them; "
            "give another folder, or overwrite that one"
        )
    resolved = suite.resolved()
    info = {
        "run": digest([same, datetime.now(UTC).isoformat()]),
        "status": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": resolved["suite"],
        "resolved": resolved,
        "identity": same,
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "device": provenance.device_of(benches[0]),
        **described,
        "plan": plan.as_dict(),
    }
    folder.write_info(info)
    return info


def _judge_all(
    folder: RunFolder,
    suite: Suite,
    benches: Sequence[Bench],
    plan: Plan,
    run_id: str,
    cost: Cost,
    progress: Progress | None,
) -> None:
    tell = progress or (lambda _done, _total, _what: None)
    done = 0.0
    for bench, cell in zip(benches, plan.cells, strict=True):
        engine = Engine(bench.classifier, suite.suite.batch_size)
        title = f"{bench.model} on {bench.data}"
        for start in range(0, cell.samples, suite.suite.chunk):
            indices = range(start, min(start + suite.suite.chunk, cell.samples))
            before, at = done, engine.meter.forwards
            engine.tick = lambda: tell(int(before + engine.meter.forwards - at), plan.forwards, title)  # noqa: B023
            tell(int(done), plan.forwards, title)
            key = part_key(bench, start)
            ready, complaints = read(bench, indices, suite.suite.seed, bench.classes)
            if folder.has_part(key):
                _refuse_changed(folder, key, ready)
            else:
                records = Records(run_id, str(suite.suite.target))
                for complaint in complaints:
                    records.complaint(bench.model, bench.data, complaint)
                for group in same_size(ready):
                    _judge_group(bench, engine, group, records, cost)
                cost.failed += (len(indices) - len(ready)) * cell.forwards // cell.samples
                folder.write_part(key, records.tables())
            done += cell.forwards * len(indices) / cell.samples
    tell(plan.forwards, plan.forwards, "done")


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


def _judge_group(bench: Bench, engine: Engine, group: Sequence[Ready], records: Records, cost: Cost) -> None:
    """Judge samples together; where something fails on them as a whole, each alone, so that it costs its own rows."""
    found = Records(records.run, records.policy)
    try:
        cost.add(judge(bench, engine, group, found))
    except Exception as error:
        if len(group) > 1:
            for sample in group:
                _judge_group(bench, engine, [sample], records, cost)
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


def _added(before: Mapping[str, Any], cost: Cost, seconds: float) -> dict[str, Any]:
    now = {"wall_seconds": seconds, **asdict(cost)}
    return {key: round(before.get(key, 0) + value, 3) for key, value in now.items()}
