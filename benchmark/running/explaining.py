"""One method's maps of a batch of samples; where it fails on them together, it is asked image by image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from camfaith.benchmark.running.planning import arm_cost
from camfaith.benchmark.suite.opening import Arm, Bench
from camfaith.metrics import Case, Maps
from camfaith.metrics.probing.case import Explainer
from camfaith.models import Classifier, Evidence
from camfaith.models.errors import NotApplicable
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


def explain(classifier: Classifier, arm: Arm, evidence: Evidence, cost: Tally) -> Explanations:
    """The method's maps; where it fails on the batch, it is asked image by image, so that the others keep theirs."""
    found = Explanations()
    began = time.perf_counter()
    with counting(classifier.network) as tally:
        try:
            _accept(found, range(len(evidence)), _checked(arm, classifier, evidence.copy()))
        except Exception:
            for row in range(len(evidence)):
                try:
                    _accept(found, [row], _checked(arm, classifier, evidence.select([row])))
                except NotApplicable as error:
                    found.failures[row] = ("undefined", str(error))
                except Exception as error:
                    found.failures[row] = ("error", f"{type(error).__name__}: {error}")
    if found.failures:
        planned = len(evidence) * arm_cost(arm, evidence.images[:1]).forwards
        cost.failed += max(0, planned - tally.forwards)
    cost.add(tally)
    found.seconds = (time.perf_counter() - began) / len(evidence)
    if tally.forwards:
        cost.model_seconds += time.perf_counter() - began
    if found.rows:
        _add_notes(arm, evidence, found)
    return found


def _add_notes(arm: Arm, evidence: Evidence, found: Explanations) -> None:
    """What the method has to say beside its maps; where it fails at that, its maps are not judged."""
    try:
        for name in ("contributions", "diagnostics"):
            if callable(getattr(arm.explainer, name, None)):
                setattr(found, name, getattr(arm.explainer, name)(evidence.select(found.rows)))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        found.failures.update(dict.fromkeys(found.rows, ("error", text)))
        found.rows, found.raw, found.diagnostics = [], [], {}


def _checked(arm: Arm, classifier: Classifier, evidence: Evidence) -> Tensor:
    raw = arm.explainer.explain(evidence, classifier)
    if not isinstance(raw, Tensor) or raw.ndim != 3 or len(raw) != len(evidence):
        got = "×".join(map(str, raw.shape)) if isinstance(raw, Tensor) else type(raw).__name__
        raise ValueError(f"{arm.label} must give maps of shape {len(evidence)}×h×w, got {got}")
    if not raw.is_floating_point():
        raise ValueError(f"{arm.label} must give floating-point maps, got {raw.dtype}")
    return raw.detach().to(evidence.images.device)


def _accept(found: Explanations, rows: Sequence[int], raw: Tensor) -> None:
    for row, image_map in zip(rows, raw, strict=True):
        if torch.isfinite(image_map).all():
            found.rows.append(row)
            found.raw.append(image_map)
        else:
            bad = int((~torch.isfinite(image_map)).sum())
            text = f"the map holds NaN or infinite values in {bad} of {image_map.numel()} cells"
            found.failures[row] = ("error", text)


def maps_of(bench: Bench, case: Case, arm: Arm, found: Explanations) -> Maps:
    every = len(found.rows) == len(case)
    return Maps(
        torch.stack(found.raw),
        case if every else case.select(found.rows),
        rectified=arm.rectified,
        layer=arm.layer,
        contributions=found.contributions,
        rows=None if every else found.rows,
        explainer=Explainer(
            partial(_checked, arm, bench.classifier), arm.needed_layers, arm.needs_gradients, arm.rectified
        ),
    )
