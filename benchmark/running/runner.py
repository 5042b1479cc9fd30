"""Running a suite: open, plan, judge, and say what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from camfaith.benchmark.results.store import Result, RunFolder, RunFolderError
from camfaith.benchmark.running import provenance
from camfaith.benchmark.running.accounting import Cost
from camfaith.benchmark.running.part import judge_bench, note_changes
from camfaith.benchmark.running.planning import Plan, plan_benches
from camfaith.benchmark.suite.declaration import Suite, digest
from camfaith.benchmark.suite.opening import Bench, open_benches
from camfaith.benchmark.suite.tuning_cache import from_json
from camfaith.models import Classifier
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.setup import exact_arithmetic

Progress = Callable[[int, int, str], None]
"""Called with the forwards done, the forwards planned, and what is being judged."""


@exact_arithmetic()
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
    allow: Sequence[str] | None = None,
    until: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run a suite and store everything in the folder `out` (a new one below `runs/` where None).

    `suite` is a shipped name, a TOML file, a mapping like one, or a `Suite`; the keywords replace parts of it. Methods,
    metrics and data sets are names or tables, models are names, tables, or networks (a `Classifier` or `nn.Module`).
    A run into the folder of the same suite, models, data and code goes on where it stopped and ends with the same
    numbers; `overwrite` starts it anew, whatever the folder holds. A GPU computes in full single precision as well, and
    the same numbers each time. `allow` names shortcuts that may change numbers (`models.speed`); `until="separated"`
    drops a method from a metric once its place there is settled (`sequential`).

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
        allow=allow,
        until=until,
    )
    benches = open_benches(chosen, given)
    folder = RunFolder(out if out is not None else new_folder(chosen.suite.name))
    with folder.writing():
        if overwrite:
            folder.clear()
        if folder.exists():
            benches = _as_begun(benches, folder.info)
        plan = plan_benches(benches, chosen.suite.chunk)
        info = _start(folder, chosen, benches, plan)
        began, cost, before = time.perf_counter(), Cost(), info.get("cost", {})
        tell = _telling(plan, progress)
        try:
            for place, (bench, cell) in enumerate(zip(benches, plan.cells, strict=True)):
                note_changes(folder, info, place, bench, chosen.suite)
                judge_bench(folder, bench, cell, chosen.suite, info["run"], cost, tell)
        except BaseException:
            with suppress(OSError):  # the disk may be full: what stopped the run is what must be told
                folder.write_info(info | {"cost": _added(before, cost, time.perf_counter() - began)})
            raise
        cost_so_far = _added(before, cost, time.perf_counter() - began)
        if chosen.suite.until == "separated":
            made = sum(cost_so_far[name] for name in ("forwards", "shared", "spared", "failed"))
            cost_so_far["settled"] = max(0, plan.forwards - int(made))
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
        "engine": [{"model": b.model, "dataset": b.data, "setup": asdict(b.setup)} for b in benches],
        "memory_kept": memory_is_kept(),
    }
    folder.write_info(info)
    return info


def _as_begun(benches: Sequence[Bench], info: Mapping[str, Any]) -> list[Bench]:
    """The benches with the setups that the run was begun with, so that it goes on with the same numbers."""
    begun = {(e["model"], e["dataset"]): from_json(e["setup"]) for e in info.get("engine", ())}
    return [replace(bench, setup=begun.get((bench.model, bench.data), bench.setup)) for bench in benches]


def _telling(plan: Plan, progress: Progress | None) -> Callable[[float, str], None]:
    """Adds what was done to what was done before, and tells of it."""
    done = 0.0

    def tell(more: float, what: str) -> None:
        nonlocal done
        done += more
        if progress:
            progress(min(int(done), plan.forwards), plan.forwards, what)

    return tell


def _added(before: Mapping[str, Any], cost: Cost, seconds: float) -> dict[str, Any]:
    now = {"wall_seconds": seconds, **asdict(cost)}
    return {key: round(before.get(key, 0) + value, 3) for key, value in now.items()}
