"""What a run will cost, known before it runs: images forward and backward through each model, memory, and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from camfaith.benchmark.suite.declaration import Suite
from camfaith.benchmark.suite.opening import Arm, Bench, open_benches
from camfaith.methods import Calls
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.metrics.probing.redrawn import Explained
from camfaith.models.inside.ablation import TAIL_BATCH, ablate_channels, tail
from camfaith.models.speed.tuning import fastest, rate

Settled = Collection[tuple[str, str]]
"""Method and metric labels of the cells that need no more images."""


@dataclass(frozen=True)
class Bill:
    """Images forward and backward through a network, passes through a head alone, memory, and time.

    `memory_mib` is an estimate: a batch with the network's two largest layer outputs, what is kept of a part's images
    and gradients, and its maps. `seconds` is what the calls alone take; None where nothing was measured.
    """

    forwards: int
    backwards: int
    heads: int
    memory_mib: float
    seconds: float | None = None


@dataclass(frozen=True)
class CellPlan:
    """One model on one data set: what is asked, and how many images go through the network for it."""

    model: str
    dataset: str
    samples: int
    capture: int
    """Forwards of the images themselves, shared by all gradient methods and all curves."""
    methods: int
    """Forwards that methods make on their own, for the images and for altered ones that they explain anew."""
    per_image: int
    """Forwards asked once per image, whatever the number of methods: subsets, regions, baselines, channels."""
    per_map: int
    """Forwards asked once per image and method, at most; equal orders of pixels will share them."""
    shared: Bill
    unshared: Bill
    """The same if every method and metric made its own calls."""

    @property
    def forwards(self) -> int:
        return self.shared.forwards


@dataclass(frozen=True)
class Plan:
    """The cost of a suite, by cell and in all."""

    cells: Sequence[CellPlan]

    @property
    def forwards(self) -> int:
        return sum(cell.shared.forwards for cell in self.cells)

    @property
    def backwards(self) -> int:
        return sum(cell.shared.backwards for cell in self.cells)

    @property
    def heads(self) -> int:
        return sum(cell.shared.heads for cell in self.cells)

    @property
    def unshared(self) -> int:
        return sum(cell.unshared.forwards for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        totals = {"forwards": self.forwards, "backwards": self.backwards, "heads": self.heads}
        return {**totals, "unshared": self.unshared, "cells": [asdict(cell) for cell in self.cells]}


def plan(suite: Suite | Mapping[str, Any] | str | Path, *, data: str | Path | None = None, **changes: Any) -> Plan:
    """What `run` would cost; `changes` are those of `Suite.changed`.

    Models are loaded, tried on one image each, and timed for about two seconds; nothing else is run. Data whose images
    differ in size, or in their number of superpixels, are planned by the first image's.
    """
    found = Suite.of(suite, data=data).changed(**changes)
    benches = open_benches(found)
    cells = plan_benches(benches, found.suite.chunk).cells
    return Plan([_timed(bench, cell, found.suite.chunk) for bench, cell in zip(benches, cells, strict=True)])


def plan_benches(benches: Sequence[Bench], chunk: int) -> Plan:
    """The plan of benches that are open already, judged `chunk` samples at a time; without times."""
    return Plan([_plan_bench(bench, chunk) for bench in benches])


def probes_of(bench: Bench, arm: Arm, pixels: int, settled: Settled = ()) -> list[Probe]:
    """What all metrics that are still open ask about one method's maps, none of it twice."""
    judges = [judge for judge in bench.judges if (arm.label, judge.label) not in settled]
    return list(dict.fromkeys(p for judge in judges for p in judge.metric.probes(arm.layer, pixels)))


def arm_cost(arm: Arm, image: Tensor) -> Calls:
    """The calls a method says it makes on its own for one image like this; none for a method that does not say."""
    cost = getattr(arm.explainer, "cost", None)
    return cost(image) if callable(cost) else Calls()


def again_cost(arm: Arm, probes: Sequence[Probe], image: Tensor) -> Calls:
    """The calls a method makes on its own for the altered images of one image that it is to explain anew."""
    return arm_cost(arm, image) * redrawn(probes, image[0, 0].numel())


def redrawn(probes: Sequence[Probe], pixels: int) -> int:
    """The altered images of one image that are to be explained anew."""
    return sum(probe.count(pixels) for probe in probes if isinstance(probe, Explained))


def forwards_of(bench: Bench, probe: Probe, pixels: int) -> int:
    """Images that go through the network to answer a probe once, at most."""
    if isinstance(probe, Channels):
        known = tail(bench.classifier, probe.layer, bench.image)
        return known.forwards(TAIL_BATCH if known.alone else bench.setup.batch_size)
    return probe.count(pixels)


def _plan_bench(bench: Bench, chunk: int) -> CellPlan:
    samples, pixels = len(bench.dataset), bench.image[0, 0].numel()
    asked = {arm.label: probes_of(bench, arm, pixels) for arm in bench.arms}
    own = sum((arm_cost(a, bench.image) + again_cost(a, asked[a.label], bench.image) for a in bench.arms), Calls())
    once = list(dict.fromkeys(p for probes in asked.values() for p in probes if p.reads == "image"))
    per_image = sum(forwards_of(bench, p, pixels) for p in once)
    per_map = sum(forwards_of(bench, p, pixels) for ps in asked.values() for p in ps if p.reads != "image")
    back = {p for arm in bench.arms if arm.goes_back for p in asked[arm.label] if isinstance(p, Explained)}
    backward = int(bench.gradients) + sum(probe.count(pixels) for probe in back)
    again = [redrawn(asked[arm.label], pixels) * _cells(bench, arm) for arm in bench.arms]
    shared = Bill(
        samples * (1 + own.forwards + per_image + per_map),
        samples * (backward + own.backwards),
        samples * sum(_heads(bench, p) for p in once),
        _memory(bench, min(chunk, samples), len(bench.arms), bench.layers, sum(again)),
    )
    alone = [_alone(bench, arm, pixels) for arm in bench.arms]
    forwards, backwards, heads = (samples * sum(bill[i] for bill in alone) for i in range(3))
    unshared = Bill(forwards, backwards, heads, _memory(bench, min(chunk, samples), 1, bench.layers[:1], max(again)))
    return CellPlan(
        model=bench.model,
        dataset=bench.data,
        samples=samples,
        capture=samples,
        methods=samples * own.forwards,
        per_image=samples * per_image,
        per_map=samples * per_map,
        shared=shared,
        unshared=unshared,
    )


def _alone(bench: Bench, arm: Arm, pixels: int) -> tuple[int, int, int]:
    """Forwards, backwards and head passes for one image of a method that shares nothing, nor do its metrics."""
    wanted = [judge.metric.probes(arm.layer, pixels) for judge in bench.judges]
    every = [probe for probes in wanted for probe in probes]
    own = arm_cost(arm, bench.image) + again_cost(arm, every, bench.image)
    explained = 1 + redrawn(every, pixels)
    forwards = own.forwards + arm.needs_layer + sum(1 for probes in wanted if probes)
    return (
        forwards + sum(forwards_of(bench, probe, pixels) for probe in every),
        own.backwards + arm.goes_back * explained,
        sum(_heads(bench, probe) for probe in every),
    )


def _heads(bench: Bench, probe: Probe) -> int:
    if not isinstance(probe, Channels):
        return 0
    known = tail(bench.classifier, probe.layer, bench.image)
    return known.channels + 1 if known.alone else 0


def _cells(bench: Bench, arm: Arm) -> int:
    """The cells of a method's map: those of its finest layer, or all pixels."""
    cells = {layer.name: layer.cells for layer in bench.survey}
    return max((cells.get(layer, 0) for layer in arm.needed_layers), default=bench.image[0, 0].numel())


def _memory(bench: Bench, chunk: int, maps: int, layers: Sequence[str], again: int) -> float:
    shapes = {layer.name: prod(layer.shape) for layer in bench.survey}
    image = bench.image[0].numel()
    batch = bench.setup.batch_size * (image + sum(sorted(shapes.values(), reverse=True)[:2]))
    kept = chunk * (image + sum(2 * shapes.get(layer, 0) for layer in layers))
    pixels = bench.image[0, 0].numel()
    shown = maps * 3 * pixels  # a map at the image's size, its ranks, and once more to sort
    return round((batch + kept + chunk * (shown + again)) * bench.image.element_size() / 2**20, 1)


def _timed(bench: Bench, cell: CellPlan, chunk: int) -> CellPlan:
    """The plan with the time that its calls take, from one measurement of each kind of call."""
    forward = 1 / rate(bench.classifier, bench.image, bench.setup, seconds=0.5)
    images = bench.image.expand(min(chunk, cell.samples), -1, -1, -1)
    device = bench.classifier.device

    def there_and_back() -> object:
        return bench.classifier.evidence(images, bench.target_class, bench.layers, gradients=bench.gradients)

    both = fastest(there_and_back, device, 0.5) / len(images)
    head_pass = _head_seconds(bench)

    def seconds(bill: Bill) -> Bill:
        spent = bill.forwards * forward + bill.backwards * max(0.0, both - forward) + bill.heads * head_pass
        return replace(bill, seconds=round(spent, 3))

    return replace(cell, shared=seconds(cell.shared), unshared=seconds(cell.unshared))


def _head_seconds(bench: Bench) -> float:
    """One pass through the network behind a layer, the mean over the layers that are asked."""
    pixels = bench.image[0, 0].numel()
    asked = {p for arm in bench.arms for p in probes_of(bench, arm, pixels) if isinstance(p, Channels)}
    times = [_seconds_of_head(bench, probe.layer) for probe in asked if _heads(bench, probe)]
    return sum(times) / len(times) if times else 0.0


def _seconds_of_head(bench: Bench, layer: str) -> float:
    def switch_off() -> object:
        return ablate_channels(bench.classifier, layer, bench.image, TAIL_BATCH)

    passes = tail(bench.classifier, layer, bench.image).channels + 1
    return fastest(switch_off, bench.classifier.device, seconds=0) / passes
