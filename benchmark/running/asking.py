"""What all metrics want to know is asked together; one whose probes fail, or leave something behind, pays alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor

from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.missing import Work
from camfaith.metrics import Case, Engine, Maps
from camfaith.metrics.probing.answers import Answer
from camfaith.metrics.probing.probes import Probe
from camfaith.models.errors import RAISED, kind_and_text, traced
from camfaith.models.leaks import Guard, alike

Wanted = Mapping[Hashable, tuple[Maps, Sequence[Probe]]]
Found = dict[Hashable, dict[Probe, Answer]]


class Failure(NamedTuple):
    """Why a metric has no value, and the way that led there."""

    text: str
    trace: str


def answers_to(
    engine: Engine,
    block: Block,
    work: Work,
    case: Case,
    wanted: Wanted,
    known: Mapping[tuple[Probe, int], Tensor],
    guard: Guard,
) -> tuple[Found, dict[str, Failure]]:
    """The answers to all probes, and why a metric has none. Where the probes of a single sample fail together, or any
    leave something behind, each metric asks alone, so that a broken one costs its own rows."""
    given = _Given(case, wanted)
    try:
        with guard.call() as leaks:
            answers = engine.answer(case, wanted, known)
        if not [*leaks, *given.put_back()]:
            return answers, {}
    except RAISED:
        given.put_back()
        if len(case) > 1:
            raise  # each sample is tried alone
    found: Found = {method: {} for method in wanted}
    broken: dict[str, Failure] = {}
    for judge in block.judges:
        methods = [method for method in wanted if judge.label in work.cells[str(method)]]
        try:
            own = {m: (wanted[m][0], judge.probes(wanted[m][0].layer, case.pixels)) for m in methods}
            with guard.call() as leaks:
                answers = engine.answer(case, own, known)
            if left := [*leaks, *given.put_back()]:
                raise RuntimeError(f"its probes changed what others are given: {'; '.join(left)}")
            for method, told_to in answers.items():
                found[method] |= told_to
        except RAISED as error:
            given.put_back()
            broken[judge.label] = Failure(kind_and_text(error), traced(error))
    return found, broken


class _Given:
    """What probes are given and must not write into."""

    def __init__(self, case: Case, wanted: Wanted) -> None:
        every = [*_tensors(case, "the case"), *(t for m, (maps, _) in wanted.items() for t in _tensors(maps, f"{m}'s"))]
        self._held = [(name, tensor, tensor.clone()) for name, tensor in every]

    def put_back(self) -> list[str]:
        """Undo what was written, and say where."""
        changed = [(name, tensor, copy) for name, tensor, copy in self._held if not alike(tensor, copy)]
        for _, tensor, copy in changed:
            tensor.copy_(copy)
        return [f"{name} was written to" for name, _, _ in changed]


def _tensors(of: Any, whose: str) -> list[tuple[str, Tensor]]:
    """The tensors among a dataclass's fields."""
    assert is_dataclass(of)
    found = ((each.name, getattr(of, each.name)) for each in fields(of))
    return [(f"{whose} {name}", value) for name, value in found if isinstance(value, Tensor)]
