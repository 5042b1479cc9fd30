"""Running a suite: what its folder lacks is planned, made, and added to what is there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import nn

from camfaith.benchmark.results.folder import RunFolder, RunFolderError
from camfaith.benchmark.results.store import Result
from camfaith.benchmark.running import provenance
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.executors.local import Tell, work_through
from camfaith.benchmark.running.executors.processes import work_through_together
from camfaith.benchmark.running.lacking import Holdings, holdings_of
from camfaith.benchmark.running.notebook import bar
from camfaith.benchmark.running.part import conditions
from camfaith.benchmark.running.planning import Plan, plan_block, whole
from camfaith.benchmark.running.settling import works_of
from camfaith.benchmark.running.shortcuts import largest_changes
from camfaith.benchmark.suite.declaration import Suite, digest
from camfaith.models import Classifier
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.counting import Tally
from camfaith.models.speed.load import overload
from camfaith.models.speed.setup import exact_arithmetic

Progress = Callable[[int, int, str], None]
"""Called with the forwards done, the forwards planned, and what is being judged."""


@exact_arithmetic()
def run(
    suite: Suite | Mapping[str, Any] | str | Path = "quick",
    *,
    out: str | Path | None = None,
    methods: Any = None,
    metrics: Any = None,
    models: Any = None,
    datasets: Any = None,
    limit: int | None = None,
    seed: int | None = None,
    target: str | int | Sequence[str | int] | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    allow: Sequence[str] | None = None,
    until: str | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Run a suite and store everything in the folder `out` (a new one below `runs/` where None).

    `suite` is a shipped name, a TOML file, a mapping like one, or a `Suite`; the keywords replace parts of it. Methods,
    metrics and data sets are names or tables, models are names, tables, or networks (a `Classifier` or `nn.Module`);
    one of them may stand alone for a list of one.
    What the folder holds already is not computed again: a stopped run goes on, and a suite with more in it costs what
    is missing. `overwrite` starts anew, whatever the folder holds. `workers` processes share the work; others, started
    on the same folder, share it too. A GPU computes in full single precision, and the same numbers each time. `allow`
    names shortcuts that may change numbers (`models.speed`); `until="separated"` drops a method from a metric once its
    place there is settled (`sequential`).

    Raises before anything is run: `SuiteError`, `UnknownName`, `LayerError`, `RunFolderError` (a folder that holds
    another model or other data under the same name). What fails later costs its own rows. `OSError` where results
    cannot be written.
    """
    methods, metrics, models, datasets = map(several, (methods, metrics, models, datasets))
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
    folder = RunFolder(out if out is not None else new_folder(chosen.suite.name))
    folder.require_no_links()
    if overwrite:
        folder.clear()
    _require_runs(folder)
    if folder.exists():  # spans are claimed, so they are cut alike by all who write here
        chosen = chosen.changed(chunk=folder.info["suite"]["chunk"])
    for part, wrong in folder.damaged().items():
        warnings.warn(f"{wrong}: it is made again", stacklevel=2)
        folder.drop(part)
    if busy := overload():
        warnings.warn(busy, stacklevel=2)
    blocks = holdings_of(chosen, folder, given)
    plan = _planned(blocks)
    info = _start(folder, chosen, blocks)
    began, tell = time.perf_counter(), _telling(plan, progress or bar())
    try:
        if workers > 1:
            work_through_together(folder, blocks, info["run"], tell, workers=workers, suite=chosen, given=given)
        else:
            work_through(folder, blocks, info["run"], tell)
        tell(plan.forwards, chosen.suite.name)
    except _Stopped as stopped:
        raise stopped.error from None
    _finish(folder, [held.block for held in blocks], info, time.perf_counter() - began)
    result = Result(folder.path)
    for text in result.warning_lines():
        warnings.warn(text, stacklevel=2)
    return result


def several(given: Any) -> list[Any] | None:
    """What is given, as a list: a name, a table or a network is one thing, though some of these can be iterated."""
    alone = isinstance(given, str | Mapping | nn.Module | BaseModel)
    return given if given is None else [given] if alone else list(given)


def new_folder(name: str) -> Path:
    """A folder below `runs/` that is not there yet."""
    return Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"


def _require_runs(folder: RunFolder) -> None:
    """`RunFolderError` for results that nobody can say anything of."""
    if folder.exists():
        Result(folder.path)  # which refuses an earlier version's
    elif folder.parts():
        raise RunFolderError(
            f"{folder.path} holds results whose run.json is gone, so nobody knows what made them; "
            "give another folder, or overwrite that one"
        )


def _planned(blocks: Sequence[Holdings]) -> Plan:
    """The plan of what is missing; its networks are loaded and tried where anything is to be asked of them."""
    return Plan([plan_block(held.block, works_of(held)) for held in blocks])


def _start(folder: RunFolder, suite: Suite, blocks: Sequence[Holdings]) -> dict[str, Any]:
    """The run's `run.json`, as last asked for."""
    opened = [held.block for held in blocks if held.block.is_open]
    told = folder.info["known"]["setups"] if folder.exists() else {}
    changes = {
        block.name: largest_changes(block)
        for block in opened
        if block.bench.setup.shortcuts and "largest_change" not in told.get(block.name, {})
    }
    with folder.alone():
        before = folder.info if folder.exists() else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        described = provenance.describe([held.block for held in blocks], before.get("known", {}), changes)
        for block in opened:
            made = provenance.conditions_of(block, folder.parts(block.name))
            if made and conditions(block) not in made:
                warnings.warn(
                    f"{block.title}: results so far were made with {_told(made[-1])}, now with "
                    f"{_told(conditions(block))}; the last digits may differ",
                    stacklevel=3,
                )
        resolved = suite.resolved()
        info = {
            **before,
            "run": before.get("run") or digest([resolved, datetime.now(UTC).isoformat()]),
            "status": "running",
            "created": before.get("created", now),
            "suite": resolved["suite"],
            "resolved": resolved,
            "versions": provenance.versions(),
            "git": provenance.git_state(),
            "device": provenance.machine(),
            **described,
            "memory_kept": memory_is_kept(),
        }
        info.pop("parts", None)
        folder.write_info(info)
    return info


def _told(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made.items())


def _finish(folder: RunFolder, blocks: Sequence[Block], started: Mapping[str, Any], seconds: float) -> None:
    """Say in `run.json` that the run is whole, and what all of the folder cost."""
    with folder.alone():
        info = folder.info
        parts = folder.parts()
        notes = [part.note for part in parts]
        cost: dict[str, Any] = dict.fromkeys(vars(Tally()), 0)
        for note in notes:
            cost |= {name: round(cost.get(name, 0) + value, 3) for name, value in note.tally.items()}
        cost["wall_seconds"] = round(info.get("cost", {}).get("wall_seconds", 0) + seconds, 3)
        totals = ("forwards", "backwards", "tails", "unshared")
        plan = {name: sum(note.planned[name] for note in notes) for name in totals}
        if started["suite"]["until"] == "separated":
            plan, cost["settled"] = _with_settled(blocks, plan, cost, info)
        info |= {"cost": cost, "plan": plan}
        if info["resolved"] == started["resolved"]:  # else somebody asks for something else by now
            info["status"] = "complete"
            names = {block.name for block in blocks}
            asked = [part.path for part in parts if part.path.parent.parent.name in names]
            info["parts"] = [path.relative_to(folder.path / "parts").as_posix() for path in asked]
            of = {(block.model.label, block.data): block for block in blocks}
            for entry in info["engine"]:
                entry["made"] = provenance.conditions_of(of[entry["model"], entry["dataset"]], parts)
        folder.write_info(info)


def _with_settled(
    blocks: Sequence[Block], plan: dict[str, int], cost: Mapping[str, Any], info: Mapping[str, Any]
) -> tuple[dict[str, int], int]:
    """The plan of all, and how many of its forwards were not made because their cell's place was settled."""
    if not all(block.is_open for block in blocks):
        return info.get("plan", plan), info.get("cost", {}).get("settled", 0)
    every = Plan([plan_block(block, whole(block)) for block in blocks])
    made = sum(int(cost[name]) for name in ("forwards", "shared", "spared", "failed"))
    return {name: getattr(every, name) for name in plan}, max(0, every.forwards - made)


class _Stopped(BaseException):
    """What `progress` raised, on its way out of the run: no sample is to blame."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _telling(plan: Plan, progress: Progress | None) -> Tell:
    """Adds what was done to what was done before, and tells of it."""
    done = 0.0

    def tell(more: float, what: str) -> None:
        nonlocal done
        done += more
        if progress and plan.forwards:
            try:
                progress(min(int(done), plan.forwards), plan.forwards, what)
            except Exception as error:
                raise _Stopped(error) from error

    return tell
