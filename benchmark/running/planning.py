"""What a run will cost, known before it runs: images forward and backward through each model, memory, disk, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from camfaith.benchmark.results.folder import RunFolder
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.lacking import holdings_of
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.records import kept_of
from camfaith.benchmark.running.settling import works_of
from camfaith.benchmark.suite.arms import Arm
from camfaith.benchmark.suite.declaration import Suite
from camfaith.benchmark.suite.identity import probe_key
from camfaith.benchmark.suite.opening import Bench
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.metrics.probing.redrawn import Explained
from camfaith.models.inside.ablation import TAIL_BATCH, ablate_channels, tail
from camfaith.models.speed import tuning
from camfaith.models.speed.counting import Calls

_NONE = Calls()


@dataclass(frozen=True)
class BlockPlan:
    """One model on one data set: what is asked, and what that takes.

    `memory_mib` is an estimate: a batch with the network's two largest layer outputs, what is kept of a span's images
    and gradients, and its maps. `size_mib` is what the folder will grow by, about. `seconds` is what the calls alone
    take; None where nothing was measured.
    """

    model: str
    dataset: str
    samples: int
    """Those that lack anything."""
    capture: int = 0
    """Forwards of the images themselves, shared by all gradient methods and all curves."""
    methods: int = 0
    """Forwards that methods make on their own, for the images and for altered ones that they explain anew."""
    per_image: int = 0
    """Forwards asked once per image, whatever the number of methods: subsets, regions, baselines, channels."""
    per_map: int = 0
    """Forwards asked once per image and method, at most; equal orders of pixels will share them."""
    shared: Calls = _NONE
    unshared: Calls = _NONE
    """The same if every method and metric made its own calls."""
    memory_mib: float = 0.0
    unshared_memory_mib: float = 0.0
    size_mib: float = 0.0
    seconds: float | None = None
    unshared_seconds: float | None = None

    @property
    def forwards(self) -> int:
        return self.shared.forwards


@dataclass(frozen=True)
class Plan:
    """The cost of a suite, or of what a folder lacks of it, by model × data set and in all."""

    blocks: Sequence[BlockPlan]

    @property
    def forwards(self) -> int:
        return sum(block.shared.forwards for block in self.blocks)

    @property
    def backwards(self) -> int:
        return sum(block.shared.backwards for block in self.blocks)

    @property
    def tails(self) -> int:
        return sum(block.shared.tails for block in self.blocks)

    @property
    def unshared(self) -> int:
        return sum(block.unshared.forwards for block in self.blocks)

    @property
    def size_mib(self) -> float:
        return sum(block.size_mib for block in self.blocks)


def plan(
    suite: Suite | Mapping[str, Any] | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    **changes: Any,
) -> Plan:
    """What `run` would cost; `changes` are those of `Suite.changed`. With `out`, the folder of a run, what that lacks.

    Models are loaded, tried on one image each, and timed for about two seconds; nothing else is run, and nothing at all
    where nothing is lacking. Data whose images differ in size, or in their number of superpixels, are planned by the
    first image's.
    """
    asked = Suite.of(suite, data=data).changed(**changes)
    found = [(h.block, works_of(h)) for h in holdings_of(asked, None if out is None else RunFolder(out))]
    return Plan([_timed(block, plan_block(block, works)) for block, works in found])


def plan_block(block: Block, works: Sequence[Work]) -> BlockPlan:
    """The plan of what a block lacks, without times. Its network is loaded where anything is to be asked of it."""
    found = BlockPlan(block.model.label, block.data, sum(len(work.samples) for work in works))
    asking = [work for work in works if work.needs_model(block)]
    if not asking:
        return found
    for work in asking:
        times = len(work.samples)
        each = _each(block.bench, work, min(block.suite.suite.chunk, times))
        counts = {name: getattr(found, name) + times * getattr(each, name) for name in _COUNTS}
        counts |= {name: getattr(found, name) + getattr(each, name) * times for name in ("shared", "unshared")}
        counts |= {name: max(getattr(found, name), getattr(each, name)) for name in _MEMORY}
        found = replace(found, **counts)
    return replace(found, size_mib=round(found.size_mib, 2))


def whole(block: Block) -> list[Work]:
    """All of a block, as an empty folder lacks it."""
    cells = {method.label: tuple(judge.label for judge in block.judges) for method in block.methods}
    every = tuple(range(len(block.dataset)))
    return [Work(0, every, cells, frozenset(cells), frozenset(), False, False, {}, 0)]


def again_cost(arm: Arm, probes: Sequence[Probe], image: Tensor) -> Calls:
    """The calls a method makes on its own for the altered images of one image that it is to explain anew."""
    return arm.cost(image) * redrawn(probes, image[0, 0].numel())


def redrawn(probes: Sequence[Probe], pixels: int) -> int:
    """The altered images of one image that are to be explained anew."""
    return sum(probe.count(pixels) for probe in probes if isinstance(probe, Explained))


def forwards_of(bench: Bench, probe: Probe, pixels: int) -> int:
    """Images that go through the network to answer a probe once, at most."""
    if isinstance(probe, Channels):
        known = tail(bench.classifier, probe.layer, bench.image)
        return known.forwards(TAIL_BATCH if known.alone else bench.setup.batch_size)
    return probe.count(pixels)


_COUNTS, _MEMORY = ("capture", "methods", "per_image", "per_map", "size_mib"), ("memory_mib", "unshared_memory_mib")


def _each(bench: Bench, work: Work, chunk: int) -> BlockPlan:
    """What one sample of some work takes, judged `chunk` at a time."""
    pixels = bench.image[0, 0].numel()
    arms = [arm for arm in bench.arms if arm.label in work.cells]
    fresh = [arm for arm in arms if arm.label in work.fresh]
    asked = {arm.label: work.probes(bench, arm.label, arm.layer, pixels) for arm in arms}
    own = sum((arm.cost(bench.image) for arm in fresh), Calls())
    own = sum((again_cost(arm, asked[arm.label], bench.image) for arm in arms), own)
    once = dict.fromkeys(p for probes in asked.values() for p in probes if p.reads == "image")
    once = {probe: None for probe in once if probe_key(probe) not in work.answered}
    capture = int(bool(fresh) or not work.kept)
    per_image = sum(forwards_of(bench, probe, pixels) for probe in once)
    per_map = sum(forwards_of(bench, p, pixels) for ps in asked.values() for p in ps if p.reads != "image")
    back = [p for arm in arms if arm.goes_back for p in asked[arm.label] if isinstance(p, Explained)]
    back = [*dict.fromkeys(p for p in back if p.reads == "image"), *(p for p in back if p.reads != "image")]
    backward = int(any(arm.goes_back for arm in fresh)) + sum(probe.count(pixels) for probe in back)
    again = [redrawn(asked[arm.label], pixels) * _cells(bench, arm) for arm in arms]
    layers = list(dict.fromkeys(layer for arm in fresh for layer in arm.needed_layers))
    answers = sum(p.count(pixels) * p.told(bench.classes) for p in once if not isinstance(p, Channels | Explained))
    grown = 8 * answers + 48 * sum(map(len, work.cells.values())) + sum(4 * _cells(bench, arm) for arm in fresh)
    if not work.kept:
        grown += 8 * bench.classes + sum(map(len, filter(None, kept_of(bench.image[0].cpu().float()).values())))
    return BlockPlan(
        bench.model,
        bench.data,
        1,
        capture=capture,
        methods=own.forwards,
        per_image=per_image,
        per_map=per_map,
        shared=Calls(
            capture + own.forwards + per_image + per_map,
            backward + own.backwards,
            sum(_tails(bench, probe) for probe in once),
        ),
        unshared=sum((_alone(bench, work, arm, pixels) for arm in arms), Calls()),
        memory_mib=_memory(bench, chunk, len(arms), layers, sum(again)),
        unshared_memory_mib=_memory(bench, chunk, 1, layers[:1], max(again, default=0)),
        size_mib=grown / 2**20,
    )


def _alone(bench: Bench, work: Work, arm: Arm, pixels: int) -> Calls:
    """What one image of a method takes that shares nothing, nor do its metrics."""
    judges = [judge for judge in bench.judges if judge.label in work.cells[arm.label]]
    wanted = [judge.planned(arm.layer, pixels) for judge in judges]
    every = [probe for probes in wanted for probe in probes]
    own = arm.cost(bench.image) + again_cost(arm, every, bench.image)
    explained = 1 + redrawn(every, pixels)
    forwards = own.forwards + arm.needs_layer + sum(1 for probes in wanted if probes)
    return Calls(
        forwards + sum(forwards_of(bench, probe, pixels) for probe in every),
        own.backwards + arm.goes_back * explained,
        sum(_tails(bench, probe) for probe in every),
    )


def _tails(bench: Bench, probe: Probe) -> int:
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


def _timed(block: Block, planned: BlockPlan) -> BlockPlan:
    """The plan with the time that its calls take, from one measurement of each kind of call."""
    if not block.is_open:
        return replace(planned, seconds=0.0, unshared_seconds=0.0)
    bench = block.bench
    forward = 1 / tuning.rate(bench.classifier, bench.image, bench.setup, seconds=0.5)
    images = bench.image.expand(min(block.suite.suite.chunk, planned.samples), -1, -1, -1)

    def there_and_back() -> object:
        return bench.classifier.evidence(images, bench.target_class, bench.layers, gradients=bench.gradients)

    both = tuning.fastest(there_and_back, bench.classifier.device, 0.5) / len(images)
    behind = _tail_seconds(bench)

    def seconds(calls: Calls) -> float:
        spent = calls.forwards * forward + calls.backwards * max(0.0, both - forward) + calls.tails * behind
        return round(spent, 3)

    return replace(planned, seconds=seconds(planned.shared), unshared_seconds=seconds(planned.unshared))


def _tail_seconds(bench: Bench) -> float:
    """One pass through the network behind a layer, the mean over the layers that are asked."""
    pixels = bench.image[0, 0].numel()
    every = {p for arm in bench.arms for judge in bench.judges for p in judge.planned(arm.layer, pixels)}
    times = [_seconds_of_tail(bench, p.layer) for p in every if isinstance(p, Channels) and _tails(bench, p)]
    return sum(times) / len(times) if times else 0.0


def _seconds_of_tail(bench: Bench, layer: str) -> float:
    def switch_off() -> object:
        return ablate_channels(bench.classifier, layer, bench.image, TAIL_BATCH)

    passes = tail(bench.classifier, layer, bench.image).channels + 1
    return tuning.fastest(switch_off, bench.classifier.device, seconds=0) / passes
