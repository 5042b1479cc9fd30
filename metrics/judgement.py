"""What a metric says of maps: it is given copies of its own, and what it gives is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from camfaith.metrics.probing.answers import Answer, Answers
from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.maps import Maps
from camfaith.metrics.probing.probes import Probe
from camfaith.models.errors import text_of


@dataclass(frozen=True)
class Line:
    """A curve behind a metric's number: x (n) is the same for all images, y is B×n."""

    x: Tensor
    y: Tensor
    x_label: str
    y_label: str


class MalformedColumns(ValueError):
    """What a metric gave is not one real number per image in each column."""


class _Copies(dict[Probe, Answer]):
    """Copies of answers, by the probes that a metric asked."""

    def __init__(self, answers: Answers) -> None:
        super().__init__({probe: answer.copy() for probe, answer in answers.items()})

    def __missing__(self, probe: Probe) -> Answer:
        asked = ", ".join(map(str, self)) or "nothing"
        why = "a probe is a frozen dataclass, so that it equals its like"
        raise LookupError(f"`probes` does not ask {probe}, but {asked}; {why}")


def judged(metric: Any, case: Case, maps: Maps, answers: Answers) -> tuple[dict[str, Tensor], Line | None]:
    """A metric's columns (B values each, float64, on the CPU), and its curve where it draws one.

    What it writes into are copies: nothing outside changes. `ValueError` where it does not give one real number per
    image.
    """
    own = case.copy()
    given, told = maps.copy(own), _Copies(answers)
    columns = columns_of(metric.judge(own, given, told), len(own), getattr(metric, "name", type(metric).__name__))
    line = metric.line(own, given, told) if hasattr(metric, "line") else None
    return columns, None if line is None else _checked(line, len(own))


def over_several(metric: Any) -> bool:
    """Whether a metric judges the maps of several methods together, by `judge_all`."""
    return callable(getattr(metric, "judge_all", None))


def judged_together(
    metric: Any, case: Case, maps: Mapping[str, Maps], answers: Mapping[str, Answers]
) -> dict[str, dict[str, Tensor]]:
    """The columns that a metric over several methods gives each of them, as in `judged`; all `maps` are of `case`."""
    own = case.copy()
    given = {name: of.copy(own) for name, of in maps.items()}
    told = {name: _Copies(of) for name, of in answers.items()}
    found, who = metric.judge_all(own, given, told), getattr(metric, "name", type(metric).__name__)
    if not isinstance(found, Mapping) or set(found) != set(maps):
        got = f"those of {list(found)}" if isinstance(found, Mapping) else type(found).__name__
        raise MalformedColumns(f"{who} must give columns by method, of {list(maps)}; got {got}")
    return {name: columns_of(found[name], len(own), f"{who} of {name}") for name in maps}


def columns_of(given: Any, count: int, who: str) -> dict[str, Tensor]:
    """What a method or metric gave by name, a real number for each image (float64, on the CPU); else `ValueError`."""
    if not isinstance(given, Mapping):
        raise MalformedColumns(f"{who} must give values by column; got {type(given).__name__}")
    for column, values in given.items():
        if not isinstance(column, str):
            raise MalformedColumns(f"{who} must name columns by text; got {column!r}")
        if not isinstance(values, Tensor) or values.shape != (count,) or values.is_complex():
            raise MalformedColumns(
                f"{who} must give {count} values, one per image, for {column!r}; got {shape_of(values)}"
            )
    return {text_of(column): values.detach().cpu().double() for column, values in given.items()}


def shape_of(given: Any) -> str:
    """A tensor's shape, in words for an error; of anything else its type."""
    if not isinstance(given, Tensor):
        return type(given).__name__
    return f"{'complex ' if given.is_complex() else ''}{tuple(given.shape)}"


def _checked(line: Line, count: int) -> Line:
    """`ValueError` for a curve that is none."""
    x, y = line.x, line.y
    if x.ndim != 1 or y.shape != (count, len(x)) or x.is_complex() or y.is_complex():
        raise ValueError(f"a line needs n real x and {count}×n y, got {tuple(x.shape)} and {tuple(y.shape)}")
    return Line(x, y, text_of(line.x_label), text_of(line.y_label))
