"""What a run will cost, known before it runs: images forward and backward through each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camfaith.benchmark.suite import Suite
from camfaith.benchmark.workbench import Arm, Bench, open_benches
from camfaith.methods import Calls
from camfaith.metrics.ablation import head
from camfaith.metrics.engine import HEAD_BATCHES
from camfaith.metrics.probes import Channels, Probe


@dataclass(frozen=True)
class CellPlan:
    """One model on one data set: what is asked, and how many images go through the network for it."""

    model: str
    dataset: str
    samples: int
    capture: int
    """Forwards of the images themselves, shared by all gradient methods and all curves."""
    methods: int
    """Forwards that methods make on their own."""
    per_image: int
    """Forwards asked once per image, whatever the number of methods: subsets, regions, baselines, channels."""
    per_map: int
    """Forwards asked once per image and method; equal orders of pixels will share them."""
    backwards: int
    heads: int
    """Passes through the network behind a layer, from activations that are there."""
    unshared: int
    """Forwards if every method and metric made its own."""
    batch_mib: float
    """Estimated memory of one batch: its images and the two largest layer outputs."""

    @property
    def forwards(self) -> int:
        return self.capture + self.methods + self.per_image + self.per_map


@dataclass(frozen=True)
class Plan:
    """The cost of a suite, by cell and in all."""

    cells: Sequence[CellPlan]

    @property
    def forwards(self) -> int:
        return sum(cell.forwards for cell in self.cells)

    @property
    def backwards(self) -> int:
        return sum(cell.backwards for cell in self.cells)

    @property
    def heads(self) -> int:
        return sum(cell.heads for cell in self.cells)

    @property
    def unshared(self) -> int:
        return sum(cell.unshared for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        totals = {"forwards": self.forwards, "backwards": self.backwards, "heads": self.heads}
        return {**totals, "unshared": self.unshared, "cells": [asdict(cell) for cell in self.cells]}


def plan(suite: Suite | Mapping[str, Any] | str | Path, *, data: str | Path | None = None, **changes: Any) -> Plan:
    """What `run` would cost; `changes` are those of `Suite.changed`.

    Models are loaded and tried on one image each; nothing else is run. Data whose images differ in size are planned by
    the first image's.
    """
    found = Suite.of(suite, data=data).changed(**changes)
    return plan_benches(open_benches(found), found.suite.batch_size)


def plan_benches(benches: Sequence[Bench], batch_size: int) -> Plan:
    """The plan of benches that are open already."""
    return Plan([_plan_bench(bench, batch_size) for bench in benches])


def probes_of(bench: Bench, arm: Arm, pixels: int) -> list[Probe]:
    """What all metrics ask about one method's maps, none of it twice."""
    return list(dict.fromkeys(p for judge in bench.judges for p in judge.metric.probes(arm.layer, pixels)))


def arm_cost(arm: Arm, height: int, width: int) -> Calls:
    """The calls a method makes on its own for one image; none known for a method that does not say."""
    cost = getattr(arm.explainer, "cost", None)
    return cost(height, width) if callable(cost) else Calls()


def _plan_bench(bench: Bench, batch_size: int) -> CellPlan:
    samples = len(bench.dataset)
    height, width = bench.image.shape[-2:]
    pixels = height * width
    own = sum((arm_cost(arm, height, width) for arm in bench.arms), Calls())
    asked = {arm.label: probes_of(bench, arm, pixels) for arm in bench.arms}
    once = list(dict.fromkeys(p for probes in asked.values() for p in probes if not p.per_map))
    per_map = sum(forwards_of(bench, p, pixels, batch_size) for ps in asked.values() for p in ps if p.per_map)
    channels = [p for p in once if isinstance(p, Channels)]
    backward = 1 if bench.gradients and bench.layers else 0
    unshared = own.forwards + sum(1 for arm in bench.arms if arm.needs_layer)
    for arm in bench.arms:
        for judge in bench.judges:
            wanted = judge.metric.probes(arm.layer, pixels)
            unshared += sum(forwards_of(bench, p, pixels, batch_size) for p in wanted) + (1 if wanted else 0)
    return CellPlan(
        model=bench.model,
        dataset=bench.data,
        samples=samples,
        capture=samples,
        methods=samples * own.forwards,
        per_image=samples * sum(forwards_of(bench, p, pixels, batch_size) for p in once),
        per_map=samples * per_map,
        backwards=samples * (backward + own.backwards),
        heads=samples * sum(_heads(bench, p) for p in channels),
        unshared=samples * unshared,
        batch_mib=_batch_mib(bench, batch_size),
    )


def forwards_of(bench: Bench, probe: Probe, pixels: int, batch_size: int) -> int:
    """Images that go through the network to answer a probe once."""
    if isinstance(probe, Channels):
        return head(bench.classifier, probe.layer, bench.image).forwards(HEAD_BATCHES * batch_size)
    return probe.count(pixels)


def _heads(bench: Bench, probe: Channels) -> int:
    known = head(bench.classifier, probe.layer, bench.image)
    return known.channels + 1 if known.alone else 0


def _batch_mib(bench: Bench, batch_size: int) -> float:
    sizes = sorted((_elements(layer.shape) for layer in bench.survey), reverse=True)[:2]
    values = bench.image[0].numel() + sum(sizes)
    return round(values * batch_size * bench.image.element_size() / 2**20, 1)


def _elements(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
