"""One method's maps of a batch of samples; where it fails on them together, it is asked image by image."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from camfaith.benchmark.running.hearing import heard, left
from camfaith.benchmark.suite.arms import Arm
from camfaith.metrics import Case, Maps, Spent
from camfaith.metrics.judgement import columns_of, shape_of
from camfaith.models import Evidence
from camfaith.models.errors import RAISED, NotApplicable, kind_and_text, text_of, traced
from camfaith.models.leaks import Guard
from camfaith.models.speed.alive import counting_memory
from camfaith.models.speed.batches import each_alone
from camfaith.models.speed.counting import Tally, counting


@dataclass
class Explanations:
    """One method's maps for the images it could explain, and what is to be said of the others."""

    rows: list[int] = field(default_factory=list)
    raw: list[Tensor] = field(default_factory=list)
    spent: dict[int, Spent] = field(default_factory=dict)
    """What was spent on each image, the pass that methods share counted in full."""
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    contributions: Tensor | None = None
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    """What it warned of, and what it left behind."""
    trace: str = ""
    """The first error, with the way that led there."""


def explain(
    arm: Arm, evidence: Evidence, cost: Tally, guard: Guard, *, seconds: float = 0.0, memory: float = 0.0
) -> Explanations:
    """The method's maps; where it fails on the batch, it is asked image by image, so that the others keep theirs. What
    it leaves behind is undone, and told. The evidence took `seconds` and so many MiB of `memory`."""
    found = Explanations(warnings=Counter(arm.leaks))
    with guard.call() as leaks, arm.classifier.kept() as exchanged, heard() as warned:
        own = _explain(arm, evidence, cost, found)
    images = len(evidence)
    if not arm.needed_layers:
        seconds = memory = 0.0
    spent = Spent(
        1 + own.forwards / images,
        int(arm.goes_back) + own.backwards / images,
        (seconds + own.seconds) / images,
        max(memory, own.memory) / images,
    )
    found.spent = dict.fromkeys(range(images), spent)
    found.warnings += warned + left([*leaks, *exchanged])
    return found


def _explain(arm: Arm, evidence: Evidence, cost: Tally, found: Explanations) -> Spent:
    """Fills in what was `found`, and says what the method itself took for all images."""

    def accept(rows: Sequence[int]) -> None:
        for row, raw in zip(rows, arm.explain(evidence.select(list(rows))), strict=True):
            _accept(found, row, raw)

    def fail(row: int, error: BaseException) -> None:
        if isinstance(error, NotApplicable):
            found.failures[row] = ("undefined", text_of(error))
        else:
            found.failures[row] = ("error", kind_and_text(error))
            found.trace = found.trace or traced(error)

    began = time.perf_counter()
    with counting(arm.classifier.network) as tally, counting_memory() as alive:
        each_alone(range(len(evidence)), accept, fail)
    if found.failures:
        planned = len(evidence) * arm.cost(evidence.images[:1]).forwards
        cost.failed += max(0, planned - tally.forwards)
    cost.add(tally)
    seconds = time.perf_counter() - began
    if tally.forwards:
        cost.model_seconds += seconds
    if found.rows:
        _add_notes(arm, evidence, found)
    return Spent(tally.forwards, tally.backwards, seconds, alive.peak / 2**20)


def _accept(found: Explanations, row: int, raw: Tensor) -> None:
    if found.raw and raw.shape != found.raw[0].shape:
        shapes = ("×".join(map(str, shape)) for shape in (raw.shape, found.raw[0].shape))
        found.failures[row] = ("error", "the map has {} cells, others of equal images {}".format(*shapes))
    elif torch.isfinite(raw).all():
        found.rows.append(row)
        found.raw.append(raw)
    else:
        bad = int((~torch.isfinite(raw)).sum())
        text = f"the map holds NaN or infinite values in {bad} of {raw.numel()} cells"
        found.failures[row] = ("error", text)


def _add_notes(arm: Arm, evidence: Evidence, found: Explanations) -> None:
    """What the method has to say beside its maps; where it fails at that, its maps are not judged."""
    count = len(found.rows)
    try:
        added = arm.contributions(evidence.select(found.rows))
        if added is not None and (not isinstance(added, Tensor) or added.ndim != 2 or len(added) != count):
            raise ValueError(f"contributions must give {count}×K numbers, one row per image; got {shape_of(added)}")
        found.contributions = None if added is None else added.detach()
        found.diagnostics = columns_of(arm.diagnostics(evidence.select(found.rows)), count, "diagnostics")
    except RAISED as error:
        found.failures.update(dict.fromkeys(found.rows, ("error", kind_and_text(error))))
        found.trace = found.trace or traced(error)
        found.rows, found.raw, found.diagnostics, found.contributions = [], [], {}, None


class _Watched:
    """A method whose calls from within a metric's questions are watched too."""

    def __init__(self, explainer: Any, guard: Guard, found: Explanations) -> None:
        self._explainer, self._guard, self._found = explainer, guard, found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._explainer, name)

    def explain(self, *given: Any) -> Any:
        with self._guard.call(altered=True) as leaks, heard() as warned:
            found = self._explainer.explain(*given)
        self._found.warnings += warned + left(leaks)
        return found


def maps_of(case: Case, arm: Any, found: Explanations, guard: Guard | None = None) -> Maps:
    """The maps that a method made; one that a `guard` watches can make more."""
    every = len(found.rows) == len(case)
    return Maps(
        torch.stack(found.raw),
        case if every else case.select(found.rows),
        rectified=arm.rectified,
        layer=arm.layer,
        contributions=found.contributions,
        rows=None if every else found.rows,
        explainer=None if guard is None else replace(arm, explainer=_Watched(arm.explainer, guard, found)),
        control=bool(arm.control),
        spent=[found.spent[row] for row in found.rows],
    )
