"""One method's maps of a batch of samples; where it fails on them together, it is asked image by image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camfaith.benchmark.suite.opening import Arm
from camfaith.metrics import Case, Maps
from camfaith.models import Evidence
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.batches import each_alone
from camfaith.models.speed.counting import Tally, counting


@dataclass
class Explanations:
    """One method's maps for the images it could explain, and what is to be said of the others."""

    rows: list[int] = field(default_factory=list)
    raw: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    contributions: Tensor | None = None
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


def explain(arm: Arm, evidence: Evidence, cost: Tally) -> Explanations:
    """The method's maps; where it fails on the batch, it is asked image by image, so that the others keep theirs."""
    found = Explanations()

    def accept(rows: Sequence[int]) -> None:
        for row, raw in zip(rows, arm.explain(evidence.select(list(rows))), strict=True):
            _accept(found, row, raw)

    def fail(row: int, error: Exception) -> None:
        undefined = isinstance(error, NotApplicable)
        found.failures[row] = ("undefined", str(error)) if undefined else ("error", f"{type(error).__name__}: {error}")

    began = time.perf_counter()
    with counting(arm.classifier.network) as tally:
        each_alone(range(len(evidence)), accept, fail)
    if found.failures:
        planned = len(evidence) * arm.cost(evidence.images[:1]).forwards
        cost.failed += max(0, planned - tally.forwards)
    cost.add(tally)
    found.seconds = (time.perf_counter() - began) / len(evidence)
    if tally.forwards:
        cost.model_seconds += time.perf_counter() - began
    if found.rows:
        _add_notes(arm, evidence, found)
    return found


def _accept(found: Explanations, row: int, raw: Tensor) -> None:
    if torch.isfinite(raw).all():
        found.rows.append(row)
        found.raw.append(raw)
    else:
        bad = int((~torch.isfinite(raw)).sum())
        text = f"the map holds NaN or infinite values in {bad} of {raw.numel()} cells"
        found.failures[row] = ("error", text)


def _add_notes(arm: Arm, evidence: Evidence, found: Explanations) -> None:
    """What the method has to say beside its maps; where it fails at that, its maps are not judged."""
    try:
        found.contributions = arm.contributions(evidence.select(found.rows))
        found.diagnostics = arm.diagnostics(evidence.select(found.rows))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        found.failures.update(dict.fromkeys(found.rows, ("error", text)))
        found.rows, found.raw, found.diagnostics = [], [], {}


def maps_of(case: Case, arm: Arm, found: Explanations) -> Maps:
    every = len(found.rows) == len(case)
    return Maps(
        torch.stack(found.raw),
        case if every else case.select(found.rows),
        rectified=arm.rectified,
        layer=arm.layer,
        contributions=found.contributions,
        rows=None if every else found.rows,
        explainer=arm,
    )
