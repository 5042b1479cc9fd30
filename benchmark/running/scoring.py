"""The rows of one method: its maps, its diagnostics, and its scores in every metric that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from camfaith.benchmark.running.asking import Failure
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.running.hearing import heard, left
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.records import Place, Records
from camfaith.benchmark.suite.arms import Judge
from camfaith.metrics import Line, Maps
from camfaith.metrics.judgement import judged
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models.errors import RAISED, kind_and_text, text_of, traced
from camfaith.models.leaks import Guard
from camfaith.models.maps import is_constant


def record(
    block: Block,
    work: Work,
    arm: Any,
    found: Explanations,
    maps: Maps | None,
    answers: Answers,
    places: Sequence[Place],
    records: Records,
    broken: Mapping[str, Failure] = MappingProxyType({}),
    guard: Guard | None = None,
) -> None:
    """The rows of one method. `broken` are the metrics whose probes have no answer; `guard` watches the network, where
    there is one."""
    judges = [judge for judge in block.judges if judge.label in work.cells[arm.label]]
    records.warn(places[0], found.warnings, arm)
    if found.trace:
        records.traces.setdefault(f"method {arm.label}", found.trace)
    if arm.label in work.fresh:
        records.maps(places, arm, found)
    for row, (status, error) in found.failures.items():
        for judge in judges:
            main = judge.metric.main
            records.score(places[row], arm, judge, main, float("nan"), status, error, found.seconds)
    if maps is None:
        return
    kept = [places[row] for row in found.rows]
    for column, values in found.diagnostics.items():
        for place, value in zip(kept, values.tolist(), strict=True):
            records.score(place, arm, None, column, value, seconds=found.seconds)
    flat = is_constant(maps.saliency).tolist()
    for judge in judges:
        with heard() as said:
            result = _result(judge, maps, answers, broken.get(judge.label), guard, said)
        records.warn(kept[0], said, arm, judge)
        if isinstance(result, Failure):
            records.traces.setdefault(f"metric {judge.label}", result.trace)
            for place in kept:
                records.score(place, arm, judge, judge.metric.main, float("nan"), "error", result.text, found.seconds)
            continue
        columns, line, asked = result
        forwards = sum(0 if isinstance(p, Channels) else p.count(maps.case.pixels) for p in asked)
        failed = _failures(answers, asked, len(kept))
        for column, values in columns.items():
            for at, (place, value) in enumerate(zip(kept, values.tolist(), strict=True)):
                status, text = _status(judge, value, flat[at], failed[at])
                value = float("nan") if failed[at] else value
                records.score(place, arm, judge, column, value, status, text, found.seconds, forwards)
        if line is not None:
            records.line(kept, arm, judge, line)


def _result(
    judge: Judge, maps: Maps, answers: Answers, broken: Failure | None, guard: Guard | None, said: Counter[str]
) -> tuple[dict[str, Tensor], Line | None, Sequence[Probe]] | Failure:
    """A metric's columns and curve, and what it asked."""
    if broken:
        return broken
    try:
        asked = judge.probes(maps.layer, maps.case.pixels)
        columns, line = judged(judge.metric, maps.case, maps, {probe: answers[probe] for probe in asked})
        return columns, line, asked
    except RAISED as error:
        return Failure(kind_and_text(error), traced(error))
    finally:
        if guard:
            said.update(left(guard.left()))


def _failures(answers: Answers, asked: Sequence[Probe], count: int) -> list[str]:
    """What went wrong on each image's altered images; nothing: ""."""
    found = [""] * count
    for probe in asked:
        for place in (~torch.isfinite(answers[probe].logit).all(1)).nonzero().flatten().tolist():
            found[place] = "the model gave NaN or infinite logits on an altered image"
        for place, why in answers[probe].failures.items():
            found[place] = why
    return found


def _status(judge: Judge, value: float, flat: bool, broken: str) -> tuple[str, str]:
    if broken:
        return "error", broken
    if value != value:
        return "undefined", text_of(getattr(judge.metric, "undefined", "not defined for this image"))
    return ("constant", "the map is constant: ties were drawn by lot") if flat else ("ok", "")
