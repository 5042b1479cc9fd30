"""How figures look: a method has one colour everywhere, type is legible in a paper, equal runs give equal files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any, TypeVar

from matplotlib import rc_context
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from camfaith.benchmark.results.files import whole
from camfaith.reports.view import shortened

WIDTH = 7.2
"""Inches; the text width of a two-column paper."""
TALLEST = 9.2
"""Inches; a page."""
FORMATS = ("pdf", "svg", "png")
STAMPS: Mapping[str, Mapping[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
"""The files' metadata; nothing in it depends on the time."""
_DPI = 150
_SETTINGS: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.grid": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.hashsalt": "camfaith",
    "text.parse_math": False,  # a name may hold a dollar sign
}
# The colour-blind-safe set of Wong (2011) without its black and yellow, and a wine red.
_HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
_DASHES: Sequence[Any] = ("solid", (0, (5, 1.2)), (0, (1.2, 1)), (0, (5, 1, 1.2, 1)))
_GREYS = ("0.15", "0.45", "0.6", "0.3", "0.7")
_CONTROL_DASHES: Sequence[Any] = (
    *((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (2, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))),
)

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Look:
    """A method's colour and line."""

    colour: str
    dash: Any


def looks(methods: Sequence[str], controls: Sequence[str]) -> dict[str, Look]:
    """A look for every method: each hue once, then again darker and dashed; controls are grey and dashed."""
    found = {}
    for place, method in enumerate(m for m in methods if m not in controls):
        turn, hue = divmod(place, len(_HUES))
        found[method] = Look(_shaded(_HUES[hue], turn), _DASHES[turn % len(_DASHES)])
    for place, method in enumerate(controls):
        found[method] = Look(to_hex(_GREYS[place % len(_GREYS)]), _CONTROL_DASHES[place % len(_CONTROL_DASHES)])
    return found


def _shaded(colour: str, turn: int) -> str:
    """The colour itself, then darker, then lighter, and so on."""
    towards, share = (0.0, 0.4) if turn % 3 == 1 else (1.0, 0.4 * (turn % 3 == 2))
    red, green, blue = ((1 - share) * part + share * towards for part in to_rgb(colour))
    return to_hex((red, green, blue))


def label(name: str, width: int) -> str:
    """A name as it is drawn; a leading underscore would hide it from legends."""
    text = shortened(" ".join(name.split()), width)
    return f" {text}" if text.startswith("_") else text


def labels(names: Sequence[str], width: int) -> dict[str, str]:
    """A label of at most `width` characters for each name, no two alike: those that shortening would make alike keep
    what tells them apart, and get numbers where that is too long as well."""
    found = {name: label(name, width) for name in names}
    for alike in _alike(found):
        start = next(place for place, signs in enumerate(zip_longest(*alike)) if len({*signs}) > 1)
        found |= {name: _told_apart(name, start, width) for name in alike}
    for alike in _alike(found):
        found |= {name: f"{label(name, width - 4)} #{place}" for place, name in enumerate(alike, 1)}
    return found


def _alike(found: Mapping[str, str]) -> list[list[str]]:
    """The names that share a label."""
    sharing: dict[str, list[str]] = {}
    for name, text in found.items():
        sharing.setdefault(text, []).append(name)
    return [names for names in sharing.values() if len(names) > 1]


def _told_apart(name: str, start: int, width: int) -> str:
    """The name's beginning, and its part from `start` on."""
    head = width // 3
    tail = name[max(head, start - 4) :][: width - head - 2]
    return label(f"{name[:head]}…{tail}" + ("…" if not name.endswith(tail) else ""), width)


def folded(text: str, width: int) -> str:
    """A title in lines of at most `width` characters."""
    return "\n".join(wrap(text, width)) or " "


def settings() -> Any:
    """A context with the settings of all figures; outside it matplotlib is as the caller left it."""
    chosen: Any = dict(_SETTINGS)
    return rc_context(chosen)


def figure(width: float, height: float, dpi: float | None = None) -> Figure:
    """An empty figure outside pyplot: it has no window and changes no global state."""
    # With a layout engine the figure would be drawn twice for every file.
    return Figure(figsize=(width, height), dpi=dpi)


def panels(
    shown: Sequence[Shown], across: int, height: float, *, shared: bool = True
) -> Iterator[tuple[Figure, list[Any], Sequence[Shown]]]:
    """Figures with a panel of that height for each of `shown`, `across` in a row, the y axis `shared` or not, and no
    more rows than a page takes: each figure with its axes, and what they are for."""
    each = across * max(1, int(TALLEST / height))
    for start in range(0, len(shown), each):
        own = shown[start : start + each]
        columns = min(across, len(own))
        deep = math.ceil(len(own) / columns)
        result = figure(min(WIDTH, 1.4 + (WIDTH - 1.4) * columns / across), deep * height)
        axes = [*result.subplots(deep, columns, sharey=shared, squeeze=False).ravel()]
        for axis in axes[len(own) :]:
            axis.set_axis_off()
        yield result, axes[: len(own)], own


def slant(axes: Sequence[Any], methods: Sequence[str], controls: Sequence[str]) -> None:
    """Set controls' names in italics, at the left of each row of panels."""
    for axis in axes:
        for tick, method in zip(axis.get_yticklabels(), methods, strict=False):
            tick.set_style("italic" if method in controls else "normal")


def save(drawn: Figure, stem: Path) -> None:
    """Write PDF, SVG and PNG. The layout is worked out once, and nothing in the files depends on the time."""
    ConstrainedLayoutEngine().execute(drawn)
    for kind in FORMATS:
        with whole(f"{stem}.{kind}") as draft:
            drawn.savefig(draft, format=kind, dpi=_DPI, metadata=STAMPS[kind])
    drawn.clear()
