"""Skill: how far each method is on the way from the random control to the best map that is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from camfaith.benchmark.results.cells import random_control
from camfaith.benchmark.results.showing import MISSING, NONE, usual
from camfaith.benchmark.results.skill import scale_of
from camfaith.reports.markup import Row, Table, Value
from camfaith.reports.style import Look, folded, label, labels, panels, slant
from camfaith.reports.view import Block, Judged, View, file_stem, spanned

LEFT, RIGHT = -0.35, 1.35
"""What a panel shows; skill further away stands at its edge as a number."""


class Way(NamedTuple):
    """A column in which there is a way to go: its best known map, and for each method a row of the summary and the
    number of images that it shares with that map and the random control."""

    column: Judged
    best: str
    found: Mapping[str, tuple[Mapping[str, Any], int]]


def ways(view: View, block: Block) -> list[Way]:
    values, random, made = view.values_of(block), random_control(view.info), []
    for column in view.ranked:
        scale = scale_of(values, column.metric, column.column, random)
        if scale is None or random is None:
            continue
        places = values.rows(column.metric, column.column)
        ends = np.isfinite(values.values[[places[random], places[scale.best]]]).all(0)
        rows = {m: view.summary_of(block)[m, column.metric, column.column] for m in view.methods if m in places}
        counts = {m: int((np.isfinite(values.values[places[m]]) & ends).sum()) for m in rows}
        found = {m: (row, counts[m]) for m, row in rows.items() if np.isfinite(row["skill"])}
        made.append(Way(column, scale.best, found))
    return made


def skill_table(view: View, block: Block) -> Table | None:
    """The skill of every method in every main column that has one."""
    made = ways(view, block)
    random, rows = random_control(view.info), []
    for method in (m for m in view.methods if m != random):
        own = usual(way.found[method][1] for way in made if method in way.found)
        if own:
            shown = [_value(way, method, own) for way in made]
            rows.append(Row(method, method in view.controls, [Value(str(own)), *shown]))
    if not rows:
        return None
    notes = [
        "Skill [95 % interval]: (mean − random) / (best known − random), over the n images that the method has in "
        f"common with both. 0 is {random}; 1 is the map, of a method or a control, whose mean is best on the images "
        "that all have in common, and above 1 is better than that map on the images of that row. These images chose "
        f"the best known map, which the interval leaves out of account. {MISSING}: no interval, n is too small.",
        f"Best known: {'; '.join(f'{way.column.title}: {way.best}' for way in made)}.",
    ]
    heads = ["n", *(way.column.title for way in made)]
    return Table(file_stem("skill", *block), f"Skill: {block.title}", heads, rows, notes)


def _value(way: Way, method: str, own: int) -> Value:
    if method not in way.found:
        return Value(NONE)
    row, count = way.found[method]
    apart = "" if count == own else f" ({count})"
    if method == way.best:
        return Value("1", f"best known{apart}")
    interval = MISSING
    if np.isfinite(row["skill_low"]):
        interval = f"[{_text(row['skill_low'])}, {_text(row['skill_high'])}]"
    return Value(_text(row["skill"]), interval + apart)


def _text(skill: float) -> str:
    text = f"{skill:.2f}" if abs(skill) < 10 else f"{skill:.0f}"
    return text if text.strip("-0.") else "0.00"


def skill_figures(view: View, block: Block, look: dict[str, Look]) -> Iterator[Figure]:
    """A panel for every column: a point for each method between the random control, 0, and the best known map, 1."""
    made = ways(view, block)
    random = random_control(view.info)
    methods = [m for m in view.methods if m != random and any(m in way.found for way in made)]
    for drawn, axes, own in panels(made, 3, 0.85 + 0.135 * len(methods)):
        for axis, way in zip(axes, own, strict=True):
            _points(axis, way, methods, look)
            axis.set_title(f"{folded(way.column.title, 30)}\n1: {label(way.best, 26)}", loc="left")
            axis.set_xlabel(spanned(count for _, count in way.found.values()))
        axes[0].set_yticks(range(len(methods)), [*labels(methods, 26).values()])
        axes[0].set_ylim(len(methods) - 0.4, -0.6)
        slant(axes[::3], methods, view.controls)
        yield drawn


def _points(axis: Any, way: Way, methods: Sequence[str], look: dict[str, Look]) -> None:
    for place in (0, 1):
        axis.axvline(place, color="0.45", lw=0.7, ls="solid" if place else (0, (4, 2)), zorder=0.5)
    for place, method in enumerate(methods):
        if method not in way.found:
            continue
        row, colour = way.found[method][0], look[method].colour
        skill, low, high = row["skill"], row["skill_low"], row["skill_high"]
        if not LEFT <= skill <= RIGHT:
            left = skill < LEFT
            axis.plot(LEFT if left else RIGHT, place, marker="<" if left else ">", color=colour, ms=4, clip_on=False)
            beside = (5, 0) if left else (-5, 0)
            axis.annotate(
                _text(skill), (LEFT if left else RIGHT, place), beside, textcoords="offset points", fontsize=6,
                ha="left" if left else "right", va="center",
            )  # fmt: skip
            continue
        if np.isfinite(low):
            axis.plot([max(low, LEFT), min(high, RIGHT)], [place, place], color=colour, lw=1)
        axis.plot(skill, place, marker="D" if method == way.best else "o", color=colour, ms=4)
    axis.set_xlim(LEFT, RIGHT)
    axis.set_xticks([0, 0.5, 1])
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
