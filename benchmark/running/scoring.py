"""The rows of methods: their maps, their diagnostics, and their scores in every metric that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from camfaith.benchmark.running.asking import Failure
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.running.hearing import heard, left
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.records import Place, Records
from camfaith.benchmark.running.together import Mapped, groups
from camfaith.benchmark.suite.arms import Judge
from camfaith.metrics import Case, Line
from camfaith.metrics.judgement import judged, judged_together
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models.errors import RAISED, kind_and_text, text_of, traced
from camfaith.models.leaks import Guard


def record_method(
    block: Block, work: Work, arm: Any, found: Explanations, places: Sequence[Place], records: Records
) -> None:
    """The rows of one method by itself: its maps, its diagnostics, and why it has no map of a sample."""
    records.warn(places[0], found.warnings, arm)
    if found.trace:
        records.traces.setdefault(f"method {arm.label}", found.trace)
    if arm.label in work.fresh:
        records.maps(places, arm, found)
    for row, (status, error) in found.failures.items():
        for judge in block.judges:
            if judge.label in work.cells[arm.label]:
                main = judge.metric.main
                records.score(places[row], arm, judge, main, float("nan"), status, error, found.spent[row].seconds)
    for column, values in found.diagnostics.items():
        for row, value in zip(found.rows, values.tolist(), strict=True):
            records.score(places[row], arm, None, column, value, seconds=found.spent[row].seconds)


def record(
    block: Block,
    work: Work,
    case: Case,
    methods: Sequence[Mapped],
    places: Sequence[Place],
    records: Records,
    broken: Mapping[str, Failure] = MappingProxyType({}),
    guard: Guard | None = None,
) -> None:
    """The rows of every metric for the methods that have maps. `broken` are the metrics whose probes have no answer;
    `guard` watches the network, where there is one."""
    for judge in block.judges:
        asked = [one for one in methods if judge.label in work.cells[one.arm.label]]
        for group in groups(judge, case, asked):
            with heard() as said:
                results = _results(judge, group, broken.get(judge.label), guard, said)
            who = None if judge.is_over_several else group[0].arm
            records.warn(places[group[0].rows[0]], said, who, judge)
            for one, result in zip(group, results, strict=True):
                _write(judge, one, [places[row] for row in one.rows], result, records)


class _Result(NamedTuple):
    """What a metric says of one method, and what it asked."""

    columns: Mapping[str, Tensor]
    line: Line | None
    asked: Sequence[Probe]


def _results(
    judge: Judge, group: Sequence[Mapped], broken: Failure | None, guard: Guard | None, said: Counter[str]
) -> Sequence[_Result | Failure]:
    """What a metric says of each method of a group."""
    if broken:
        return [broken] * len(group)
    try:
        asked = [judge.probes(one.maps.layer, one.maps.case.pixels) for one in group]
        told = [{probe: one.answers[probe] for probe in of} for one, of in zip(group, asked, strict=True)]
        maps = [one.maps for one in group]
        if not judge.is_over_several:
            return [_Result(*judged(judge.metric, maps[0].case, maps[0], told[0]), asked[0])]
        names = [one.arm.label for one in group]
        of_all = (dict(zip(names, each, strict=True)) for each in (maps, told))
        found = judged_together(judge.metric, maps[0].case, *of_all)
        return [_Result(found[name], None, of) for name, of in zip(names, asked, strict=True)]
    except RAISED as error:
        return [Failure(kind_and_text(error), traced(error))] * len(group)
    finally:
        if guard:
            said.update(left(guard.left()))


def _write(judge: Judge, one: Mapped, kept: Sequence[Place], result: _Result | Failure, records: Records) -> None:
    """The rows of one metric and method."""
    seconds = [one.found.spent[row].seconds for row in one.rows]
    if isinstance(result, Failure):
        records.traces.setdefault(f"metric {judge.label}", result.trace)
        for place, took in zip(kept, seconds, strict=True):
            records.score(place, one.arm, judge, judge.metric.main, float("nan"), "error", result.text, took)
        return
    forwards = sum(0 if isinstance(p, Channels) else p.count(one.maps.case.pixels) for p in result.asked)
    failed = one.failures(result.asked)
    for column, values in result.columns.items():
        for at, (place, value) in enumerate(zip(kept, values.tolist(), strict=True)):
            status, text = _status(judge, value, one.flat[at], failed[at])
            value = float("nan") if failed[at] else value
            records.score(place, one.arm, judge, column, value, status, text, seconds[at], forwards)
    if result.line is not None:
        records.line(kept, one.arm, judge, result.line)


def _status(judge: Judge, value: float, flat: bool, broken: str) -> tuple[str, str]:
    if broken:
        return "error", broken
    if value != value:
        return "undefined", text_of(getattr(judge.metric, "undefined", "not defined for this image"))
    return ("constant", "the map is constant: ties were drawn by lot") if flat else ("ok", "")
