"""One batch of samples through the methods and metrics that are missing; whatever fails costs its own cells alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camfaith.benchmark.running.asking import answers_to
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.explaining import Explanations, explain, maps_of
from camfaith.benchmark.running.hearing import heard
from camfaith.benchmark.running.known import Known
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.planning import again_cost, forwards_of
from camfaith.benchmark.running.reading import Ready, planes
from camfaith.benchmark.running.records import Place, Records
from camfaith.benchmark.running.scoring import record, record_method
from camfaith.benchmark.running.together import Mapped
from camfaith.benchmark.running.unfinished import Unfinished
from camfaith.benchmark.suite.arms import Arm
from camfaith.benchmark.suite.identity import probe_key
from camfaith.benchmark.suite.opening import Bench
from camfaith.metrics import Case, Engine, Maps
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models import Evidence
from camfaith.models.leaks import Guard
from camfaith.models.penultimate import Penultimate
from camfaith.models.speed.alive import counting_memory
from camfaith.models.speed.counting import Tally, counting
from camfaith.models.speed.setup import going_by


def judge(
    block: Block,
    engine: Engine,
    samples: Sequence[Ready],
    work: Work,
    known: Known,
    records: Records,
    unfinished: Unfinished | None = None,
) -> Tally:
    """Judge samples of one size with the network; rows, curves, maps, answers and pictures go into `records`.

    A method is judged only by the metrics that are missing for it, and explains only where its maps are not stored.
    `unfinished` has what a stopped run knew of these samples, and is told what becomes known.
    """
    done = {} if unfinished is None else unfinished.explained
    engine.journal = None if unfinished is None else unfinished.journal
    bench, tally, guard = block.bench, Tally(), Guard(block.bench.classifier.network, block.bench.own_changes)
    said: Counter[str] = Counter()
    arms = [arm for arm in bench.arms if arm.label in work.cells]
    fresh = [arm for arm in arms if arm.label in work.fresh]
    if fresh or not work.kept:
        began = time.perf_counter()
        with (
            counting(bench.classifier.network) as made,
            counting_memory() as alive,
            guard.learning(),
            heard() as said,
        ):
            evidence, features = _capture(bench, samples, fresh)
        took = {"seconds": time.perf_counter() - began, "memory": alive.peak / 2**20}
        tally.model_seconds += took["seconds"]
        tally.add(made)
        size = (evidence.images.shape[-2], evidence.images.shape[-1])
        contents = planes((s.content for s in samples), size)
        of_target = bench.classifier.head.of_target(evidence.logits, evidence.targets)
        about = (evidence.images, evidence.targets, evidence.logits, evidence.seeds, evidence.masks)
        case = Case(*about, contents, of_target, features)
    else:
        evidence, took, case = None, {}, known.case(samples, bench.classifier.device)
    case = replace(case, normalisation=(bench.classifier.mean, bench.classifier.std))
    places = _places(block, samples, case)
    records.warn(places[0], said)
    if not work.kept:
        records.pictures(places, samples, case, images=block.suite.suite.pictures == "all")
    explained = {}
    for arm in arms:
        if arm in fresh and evidence is not None:
            if arm.label not in done:
                own = Tally()
                with going_by(bench.setup):
                    done[arm.label] = explain(arm, evidence, own, guard, **took), own
            explained[arm.label], own = done[arm.label]
            tally.add(own)
        else:
            explained[arm.label] = known.explanations(arm.key, samples, case.images.device)
    maps = {arm.label: maps_of(case, arm, explained[arm.label], guard) for arm in arms if explained[arm.label].rows}
    asked = {arm.label: work.probes(block, arm.label, arm.layer, case.pixels) for arm in arms}
    wanted: dict[Hashable, tuple[Maps, Sequence[Probe]]] = {label: (maps[label], asked[label]) for label in maps}
    keys = {probe: probe_key(probe) for probes in asked.values() for probe in probes}
    told = known.scores(keys, samples)
    before = replace(engine.meter)
    with heard() as said:
        answers, broken = answers_to(engine, block, work, case, wanted, told, guard)
    records.warn(places[0], said)
    tally.add(engine.meter.since(before))
    tally.failed += _not_made(bench, arms, explained, asked, case, told)
    _keep_answers(maps, answers, {probe: key for probe, key in keys.items() if key}, told, places, records)
    guard.look()
    methods = []
    for arm in arms:
        found = explained[arm.label]
        record_method(block, work, arm, found, places, records)
        if arm.label in maps:
            methods.append(Mapped(arm, found, maps[arm.label], answers[arm.label]))
    record(block, work, case, methods, places, records, broken, guard)
    return tally


def judge_again(block: Block, samples: Sequence[Ready], work: Work, known: Known, records: Records) -> None:
    """Judge samples of one size from stored maps and answers: no network is asked or loaded."""
    case = known.case(samples)
    places, methods = _places(block, samples, case), []
    for method in block.methods:
        if method.label in work.cells:
            found, layer = known.explanations(method.key, samples), work.layers[method.label]
            row = known.maps[method.key, samples[0].id]
            arm = _Kept(method.label, method.key, layer, rectified=row["rectified"], control=row["control"])
            record_method(block, work, arm, found, places, records)
            if found.rows:
                answers = known.answers(work.probes(block, method.label, layer, case.pixels), found.rows, samples)
                methods.append(Mapped(arm, found, maps_of(case, arm, found), answers))
    record(block, work, case, methods, places, records)


@dataclass(frozen=True)
class _Kept:
    """A method whose maps are there, and how they are read."""

    label: str
    key: str
    layer: str | None
    rectified: bool
    control: bool


def _places(block: Block, samples: Sequence[Ready], case: Case) -> list[Place]:
    of = (block.context, block.model.label, block.data)
    return [
        Place(*of, s.id, s.cluster, s.label, target) for s, target in zip(samples, case.targets.tolist(), strict=True)
    ]


def _capture(bench: Bench, samples: Sequence[Ready], arms: Sequence[Arm]) -> tuple[Evidence, Tensor]:
    """What one forward and one backward give, and the network's features of the images."""
    images = torch.stack([sample.image for sample in samples])
    masks = planes((sample.mask for sample in samples), (images.shape[-2], images.shape[-1]))
    target = bench.target

    def choose(logits: Tensor) -> Tensor:
        if target == "each":
            return torch.tensor([sample.target for sample in samples])
        if target == "label":
            return torch.tensor([sample.label for sample in samples])
        if target == "second":
            return logits.topk(2, dim=1).indices[:, 1]
        if target == "predicted":
            return bench.classifier.head.predicted(logits)
        return torch.full((len(logits),), int(target))

    penultimate = Penultimate(bench.classifier.network)
    with penultimate.watched(len(images)):
        evidence = bench.classifier.evidence(
            images,
            choose,
            list(dict.fromkeys(layer for arm in arms for layer in arm.needed_layers)),
            gradients=any(arm.goes_back for arm in arms),
            seeds=torch.tensor([sample.seed for sample in samples]),
            masks=None if masks is None else masks.to(bench.classifier.device),
        )
        return evidence, penultimate.features(len(images), evidence.images.device)


def _not_made(
    bench: Bench,
    arms: Sequence[Arm],
    explained: Mapping[str, Explanations],
    asked: Mapping[str, Sequence[Probe]],
    case: Case,
    told: Mapping[tuple[Probe, int], Tensor],
) -> int:
    """Planned forwards that were not made: the curves of images without a map, and what no method with one asked."""
    missing = 0
    by_image: dict[Probe, set[int]] = {}
    for arm in arms:
        rows, probes = explained[arm.label].rows, asked[arm.label]
        missing += (len(case) - len(rows)) * again_cost(arm, probes, case.images[:1]).forwards
        for probe in probes:
            if probe.reads == "image":
                by_image.setdefault(probe, set()).update(rows)
            else:
                missing += (len(case) - len(rows)) * forwards_of(bench, probe, case.pixels)
    for probe, images in by_image.items():
        unknown = {row for row in range(len(case)) if (probe, row) not in told}
        made = unknown if isinstance(probe, Channels) and images else unknown & images
        missing += (len(unknown) - len(made)) * forwards_of(bench, probe, case.pixels)
    return missing


def _keep_answers(
    maps: Mapping[str, Maps],
    answers: Mapping[Hashable, Answers],
    keys: Mapping[Probe, str],
    told: Mapping[tuple[Probe, int], Tensor],
    places: Sequence[Place],
    records: Records,
) -> None:
    """Write down what probes of images alone were told and nobody knew before. Those that chose where their images lie
    are asked again: a table does not say it."""
    done = set(told)
    for label, of in maps.items():
        for probe, answer in answers[label].items():
            if probe not in keys or answer.at is not None:
                continue
            scores = answer.tables
            for at, row in enumerate(of.rows if of.rows is not None else range(len(places))):
                if (probe, row) not in done:
                    records.answer(places[row], keys[probe], scores[at])
                    done.add((probe, row))
