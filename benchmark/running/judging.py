"""One batch of samples through every method and metric of a bench; whatever fails costs its own cells alone."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from camfaith.benchmark.running.accounting import Cost
from camfaith.benchmark.running.explaining import Explanations, explain, maps_of
from camfaith.benchmark.running.planning import Settled, again_cost, forwards_of, probes_of
from camfaith.benchmark.running.reading import Ready, planes
from camfaith.benchmark.running.records import Cell, Records
from camfaith.benchmark.suite.opening import Arm, Bench, Judge
from camfaith.metrics import Case, Engine, Maps
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models import Evidence
from camfaith.models.maps import is_constant
from camfaith.models.speed.counting import counting
from camfaith.models.speed.setup import going_by


def judge(
    bench: Bench, engine: Engine, samples: Sequence[Ready], records: Records, settled: Settled = frozenset()
) -> Cost:
    """Judge samples of one size; rows, curves, maps and pictures go into `records`.

    A method is not asked about metrics on which its place is `settled`, and not at all where all are.
    """
    cost = Cost()
    began = time.perf_counter()
    with counting(bench.classifier.network) as tally:
        evidence = _capture(bench, samples)
    cost.model_seconds += time.perf_counter() - began
    cost.add(tally)
    targets = evidence.targets.tolist()
    cells = [Cell(bench.model, bench.data, s.id, s.cluster, s.label, t) for s, t in zip(samples, targets, strict=True)]
    records.pictures(cells, samples)
    case = Case(
        evidence.images,
        evidence.targets,
        evidence.logits,
        evidence.seeds,
        evidence.masks,
        planes((s.content for s in samples), (evidence.images.shape[-2], evidence.images.shape[-1])),
    )
    open_judges = {
        arm.label: [judge for judge in bench.judges if (arm.label, judge.label) not in settled] for arm in bench.arms
    }
    arms = [arm for arm in bench.arms if open_judges[arm.label]]
    with going_by(bench.setup):
        explained = {arm.label: explain(arm, evidence, cost) for arm in arms}
    maps = {arm.label: maps_of(case, arm, explained[arm.label]) for arm in arms if explained[arm.label].rows}
    wanted: dict[Hashable, tuple[Maps, Sequence[Probe]]] = {
        arm.label: (maps[arm.label], probes_of(bench, arm, case.pixels, settled)) for arm in arms if arm.label in maps
    }
    before = replace(engine.meter)
    answers = engine.answer(case, wanted)
    cost.add(engine.meter.since(before))
    cost.failed += _not_made(bench, arms, explained, case, settled)
    for arm in arms:
        found, judges = explained[arm.label], open_judges[arm.label]
        _record_failures(judges, arm, found, cells, records)
        if found.rows:
            _record(judges, arm, found, maps[arm.label], answers[arm.label], cells, records)
    return cost


def _capture(bench: Bench, samples: Sequence[Ready]) -> Evidence:
    images = torch.stack([sample.image for sample in samples])
    masks = planes((sample.mask for sample in samples), (images.shape[-2], images.shape[-1]))
    target = bench.target

    def choose(logits: Tensor) -> Tensor:
        if target == "label":
            return torch.tensor([sample.label for sample in samples])
        if target == "second":
            return logits.topk(2, dim=1).indices[:, 1]
        return logits.argmax(1) if target == "predicted" else torch.full((len(logits),), int(target))

    return bench.classifier.evidence(
        images,
        choose,
        bench.layers,
        gradients=bench.gradients,
        seeds=torch.tensor([sample.seed for sample in samples]),
        masks=None if masks is None else masks.to(bench.classifier.device),
    )


def _not_made(
    bench: Bench, arms: Sequence[Arm], explained: dict[str, Explanations], case: Case, settled: Settled
) -> int:
    """Planned forwards that were not made: the curves of images without a map, and what no method with one asked."""
    missing = 0
    asked: dict[Probe, set[int]] = {}
    for arm in arms:
        rows = explained[arm.label].rows
        probes = probes_of(bench, arm, case.pixels, settled)
        missing += (len(case) - len(rows)) * again_cost(arm, probes, case.images[:1]).forwards
        for probe in probes:
            if probe.reads == "image":
                asked.setdefault(probe, set()).update(rows)
            else:
                missing += (len(case) - len(rows)) * forwards_of(bench, probe, case.pixels)
    for probe, images in asked.items():
        made = len(case) if isinstance(probe, Channels) and images else len(images)
        missing += (len(case) - made) * forwards_of(bench, probe, case.pixels)
    return missing


def _record_failures(
    judges: Sequence[Judge], arm: Arm, found: Explanations, cells: Sequence[Cell], records: Records
) -> None:
    for row, (status, error) in found.failures.items():
        for judge_ in judges:
            records.score(cells[row], arm, judge_, judge_.metric.main, float("nan"), status, error, found.seconds, 0)


def _record(
    judges: Sequence[Judge],
    arm: Arm,
    found: Explanations,
    maps: Maps,
    answers: Answers,
    cells: Sequence[Cell],
    records: Records,
) -> None:
    kept = [cells[row] for row in found.rows]
    records.maps(kept, arm, maps.raw)
    flat = is_constant(maps.saliency).tolist()
    for column, values in found.diagnostics.items():
        for cell, value in zip(kept, values.tolist(), strict=True):
            records.score(cell, arm, None, column, value, "ok", "", found.seconds, 0)
    for judge_ in judges:
        asked = judge_.metric.probes(arm.layer, maps.case.pixels)
        forwards = sum(0 if isinstance(p, Channels) else p.count(maps.case.pixels) for p in asked)
        try:
            columns = _checked_columns(judge_, judge_.metric.judge(maps.case, maps, answers), len(kept))
            line = judge_.metric.line_of(maps.case, maps, answers) if hasattr(judge_.metric, "line_of") else None
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            main = judge_.metric.main
            for cell in kept:
                records.score(cell, arm, judge_, main, float("nan"), "error", text, found.seconds, forwards)
            continue
        broken = _failures(answers, asked, len(kept))
        for column, values in columns.items():
            for place, (cell, value) in enumerate(zip(kept, values.tolist(), strict=True)):
                status, text = _status(judge_, value, flat[place], broken[place])
                value = float("nan") if broken[place] else value
                records.score(cell, arm, judge_, column, value, status, text, found.seconds, forwards)
        if line is not None:
            records.line(kept, arm, judge_, line)


def _checked_columns(judge_: Judge, columns: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    for column, values in columns.items():
        if not isinstance(values, Tensor) or values.shape != (count,):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"{judge_.label} must give {count} values, one per image, for {column!r}; got {got}")
    return columns


def _failures(answers: Answers, asked: Sequence[Probe], count: int) -> list[str]:
    """What went wrong on each image's altered images; nothing: ""."""
    found = [""] * count
    for probe in asked:
        for place in (~torch.isfinite(answers[probe].logit).all(1)).nonzero().flatten().tolist():
            found[place] = "the model gave NaN or infinite logits on an altered image"
        for place, why in answers[probe].failures.items():
            found[place] = why
    return found


def _status(judge_: Judge, value: float, flat: bool, broken: str) -> tuple[str, str]:
    if broken:
        return "error", broken
    if value != value:
        return "undefined", judge_.metric.undefined
    return ("constant", "the map is constant: ties were drawn by lot") if flat else ("ok", "")
