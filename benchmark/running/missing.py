"""What a folder lacks of a suite: the cells that are wanted and not there, span by span."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camfaith.benchmark.results.folder import Note, RunFolderError
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.suite.identity import content_hash, probe_key
from camfaith.metrics.probing.probes import Probe

Settled = Collection[tuple[str, str]]
"""Method and metric labels of the cells that need no more images."""


@dataclass(frozen=True)
class Work:
    """Samples of one span that lack the same cells, and what is there already for them to be made from.

    `cells`: the metrics that are missing for each method. `fresh`: the methods among them whose maps are not there.
    `answered`: the keys of the probes whose answers are. `kept`: whether the samples' logits are; `seen`: whether their
    images are too. `layers`: what the maps that are there account for, by method.
    """

    span: int
    samples: tuple[int, ...]
    cells: Mapping[str, tuple[str, ...]]
    fresh: frozenset[str]
    answered: frozenset[str]
    kept: bool
    seen: bool
    layers: Mapping[str, str | None]
    pixels: int

    def needs_model(self, block: Block) -> bool:
        """Whether anything must be explained or asked that the folder does not hold."""
        if self.fresh or not self.seen:
            return True
        return any(probe_key(p) not in self.answered for m in self.cells for p in self.probes(block, m, self.layers[m]))

    def probes(self, block: Any, method: str, layer: str | None, pixels: int = 0) -> list[Probe]:
        """What the missing metrics ask about a method's maps, none of it twice."""
        judges = [judge for judge in block.judges if judge.label in self.cells[method]]
        return list(dict.fromkeys(p for j in judges for p in j.planned(layer, pixels or self.pixels)))


@dataclass
class _Held:
    """What is there of one sample."""

    cells: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    layers: dict[str, str | None] = field(default_factory=dict)
    answers: set[str] = field(default_factory=set)
    content: str | None = None
    unusable: bool = False
    pictures: str = ""
    pixels: int = 0


def contents(block: Block, span: range) -> dict[str, str]:
    """The content of each sample of a span by its id; "" where it cannot be read."""
    found = {}
    for index in span:
        try:
            found[block.dataset.ids[index]] = content_hash(block.dataset[index])
        except Exception:  # whatever a data set raises: the sample's row says it, or will
            found[block.dataset.ids[index]] = ""
    return found


def require_same(block: Block, notes: Sequence[Note], now: Mapping[str, str]) -> None:
    """`RunFolderError` where samples are not those that the folder's results were made from. One that could not be
    read, then or now, has nothing to compare with."""
    before = {name: content for note in notes for name, content in {**note.samples, **note.unusable}.items() if content}
    changed = [name for name, content in before.items() if now.get(name) and now[name] != content]
    if changed:
        raise RunFolderError(
            f"sample {changed[0]!r} of {block.data!r} ({len(changed)} in all) is not as it was when this folder's "
            "results were made; give the changed sample another id, or another folder, or overwrite this one"
        )


def missing_in(
    block: Block, span: range, notes: Sequence[Note], now: Mapping[str, str], settled: Settled = ()
) -> list[Work]:
    """What is to be added for the samples of a span; `now` says what they hold, where the folder has something."""
    held = _held(block, notes)
    wanted = {
        method: tuple(judge for judge in block.judges if (method.label, judge.label) not in settled)
        for method in block.methods
    }
    groups: dict[Any, list[int]] = {}
    for index in span:
        name = block.dataset.ids[index]
        known = held.get(name, _Held())
        if known.unusable and (known.content or not now.get(name)):
            continue
        cells = {m.label: tuple(j.label for j in js if j.key not in known.cells[m.key]) for m, js in wanted.items()}
        # With a damaged part, maps and pictures go whose cells lie in other parts.
        lost = {m.label for m in block.methods if known.cells[m.key] and m.key not in known.layers}
        cells = {label: judges for label, judges in cells.items() if judges or label in lost}
        kept = bool(known.pictures)
        if not cells and (kept or known.content is None):
            continue
        layers = {m.label: known.layers[m.key] for m in block.methods if m.label in cells and m.key in known.layers}
        seen = kept and known.pictures == "all"
        what = (tuple(cells.items()), tuple(layers.items()), frozenset(known.answers), kept, seen, known.pixels)
        groups.setdefault(what, []).append(index)
    return [
        Work(
            span.start,
            tuple(samples),
            dict(cells),
            frozenset(dict(cells)) - set(dict(layers)),
            answers,
            kept,
            seen,
            dict(layers),
            pixels,
        )
        for (cells, layers, answers, kept, seen, pixels), samples in groups.items()
    ]


def _held(block: Block, notes: Sequence[Note]) -> dict[str, _Held]:
    held: dict[str, _Held] = defaultdict(_Held)
    own = [note for note in notes if note.context == block.context]
    for note in own:
        for name, content in note.unusable.items():
            held[name].unusable, held[name].content = True, content
    for note in own:  # what could be used once counts, whatever came before or after
        for name, content in note.samples.items():
            one = held[name]
            one.unusable, one.content, one.pixels = False, content, note.pixels
            one.pictures = note.pictures or one.pictures
            for method, metrics in note.cells.items():
                one.cells[method].update(metrics)
            one.layers.update({method: told["explains"] for method, told in note.maps.items()})
            one.answers.update(note.answers)
    return held
