"""A picture with the maps of several methods beside it, a block for each class, and the scale of their colours."""

from __future__ import annotations

import os
import textwrap
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import ImageFont

from camfaith.benchmark.results.explanation import ClassScore, Explanation, Panel
from camfaith.benchmark.results.files import whole
from camfaith.reports.style import FORMATS, STAMPS, WIDTH, figure, settings
from camfaith.reports.view import shortened

_ACROSS = 6
"""The most tiles in a row."""
_GAP, _LINE, _TILE, _TALL = 0.08, 0.135, 1.9, 1.5  # inches, and a tile's height by its width at most
_BAR, _SCALE, _NARROW = 1.7, 0.36, 4.4
_DPI = 300
_TOLD = {
    True: "Red speaks for the class, blue against it. Each map has a scale of its own, from −max |M| to the max |M| "
    "beneath it. The picture is grey and lightened.",
    False: "What speaks for the class. Each map has a scale of its own, from its least (0) to its most (1).",
}
_CUT = {
    True: " Where a ≥ stands beneath it, the colours end there: 0.5 % of the pixels have more.",
    False: " The colours of maps of single pixels end where 0.5 % of the pixels have more (≥ 1).",
}
_SIGNS = {
    "before ReLU": " Before ReLU: the method's definition goes on to cut off what is blue.",
    "after ReLU": " After ReLU: the method's maps come with that cut off, and stretched to [0, 1].",
    "unsigned": " Unsigned: such a map says where the class depends on the picture, not whether for or against it.",
}
_TICKS = {True: ("−max |M|", "0", "max |M|"), False: ("0", "1")}


@dataclass(frozen=True)
class _Page:
    """A figure on which things are placed in inches from its top left corner."""

    drawn: Figure
    width: float
    height: float

    def box(self, left: float, top: float, width: float, height: float) -> Axes:
        across, down = width / self.width, height / self.height
        return self.drawn.add_axes((left / self.width, 1 - top / self.height - down, across, down))

    def text(self, left: float, top: float, text: str, **look: Any) -> None:
        self.drawn.text(left / self.width, 1 - top / self.height, text, **{"va": "top", **look})


def draw(found: Explanation) -> Figure:
    """Draw the picture and every method's map, once for each class: even rows of at most six, no wider than a page."""
    count = 1 + len(found.methods)
    rows = -(-count // _ACROSS)
    across = -(-count // rows)
    wide = min(_TILE, (WIDTH - _GAP) / across - _GAP)
    high = wide * min(_TALL, found.picture.height / found.picture.width)
    width = max(_NARROW, across * (wide + _GAP) + _GAP)
    shown = [panel for panel in found.panels.values() if panel.picture]
    above = _LINE * max(_wrapped(_short(name), wide).count("\n") + 1 for name in found.methods)
    below = _LINE * max((_beneath(panel, wide).count("\n") + 1 for panel in shown if panel.note), default=0)
    heading = _wrapped(
        "   ·   ".join((found.name, _short(found.model), *(f"layer {n}" for n in found.layers))), width - 2 * _GAP
    )
    cut = any(panel.cut for panel in shown)
    told = _TOLD[found.signed] + cut * _CUT[found.signed]
    told += "".join(text for signs, text in _SIGNS.items() if any(panel.signs == signs for panel in shown))
    told = _wrapped(told, width - _BAR - 10 * _GAP, lines=12)
    head, foot = (_LINE * (text.count("\n") + 1) + _GAP for text in (heading, told))
    foot = max(foot, _SCALE)
    block = _LINE + rows * (above + high + below + _GAP) + _GAP
    height = _GAP + head + len(found.classes) * block + foot
    with settings():
        page = _Page(figure(width, height, _DPI), width, height)
        page.text(_GAP, _GAP, heading, color="0.35")
        for place, explained in enumerate(found.classes):
            top = _GAP + head + place * block
            page.text(_GAP, top, _caption(explained, width), weight="bold")
            tiles = [("picture", Panel(None, found.picture))]
            tiles += [(method, found.panels[method, explained.index]) for method in found.methods]
            for number, (name, panel) in enumerate(tiles):
                down, right = divmod(number, across)
                left = _GAP + right * (wide + _GAP)
                up = top + _LINE + down * (above + high + below + _GAP) + above
                page.text(left, up - 0.03, _wrapped(_short(name), wide), va="bottom")
                _tile(page.box(left, up, wide, high), panel, wide, high)
                if panel.picture and panel.note:
                    page.text(left, up + high + 0.03, _beneath(panel, wide), color="0.35", size=6)
        bar, bottom = page.box(4 * _GAP, height - foot, _BAR, 0.09), height - foot
        bar.imshow(found.scale, aspect="auto", extent=(0, 1, 0, 1))
        ticks = _TICKS[found.signed] if found.signed or not cut else ("0", "≥ 1")
        bar.set(yticks=[], xticks=[n / (len(ticks) - 1) for n in range(len(ticks))], xticklabels=ticks)
        page.text(_BAR + 9 * _GAP, bottom - 0.02, told, color="0.35")
    return page.drawn


def _tile(axes: Axes, panel: Panel, wide: float, high: float) -> None:
    """The map over the picture, or why there is none."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if panel.picture:
        axes.imshow(panel.picture)
        return
    axes.set_facecolor("0.93")
    why = _wrapped(panel.note, wide - _GAP, lines=int(high / 0.11) - 1)
    axes.text(0.5, 0.5, why, ha="center", va="center", size=6, color="0.3", transform=axes.transAxes)


def _short(name: str) -> str:
    """A name without its file: "Class" for "path/to/file.py:Class"."""
    path, _, attribute = name.rpartition(":")
    return attribute if path.endswith(".py") else name


def _beneath(panel: Panel, wide: float) -> str:
    """The note of a map, in two lines at most."""
    return _wrapped(", ".join(filter(None, (panel.note, panel.signs))), wide * 7 / 6)


def _caption(explained: ClassScore, width: float) -> str:
    if explained.probability is None:
        told = f":  score {explained.score:.4g}"
    else:
        size = f"{explained.probability:.3f}" if explained.probability >= 0.001 else "below 0.001"
        told = f":  probability {size}{', the predicted class' if explained.predicted else ''}"
    return _wrapped(explained.name, width - 2 * _GAP - _inches(told, bold=True), lines=1, bold=True) + told


def _wrapped(text: str, inches: float, lines: int = 2, bold: bool = False) -> str:
    """The text in at most so many lines of that width; a longer text loses its middle."""

    def broken(kept: int) -> list[str]:
        shown = shortened(text, kept)
        for letters in range(min(len(shown), int(40 * inches)), 1, -1):  # the narrowest take 1/40 inch
            cut = textwrap.wrap(shown, letters)
            if all(_inches(line, bold) <= inches for line in cut):
                return cut
        return list(shown)

    kept = bisect_left(range(1, len(text) + 1), True, key=lambda kept: len(broken(kept)) > lines)
    return "\n".join(broken(kept))


def _inches(text: str, bold: bool = False) -> float:
    """How wide a line is drawn, with room for a renderer that rounds the widths of letters."""
    return 1.02 * _font(bold).getlength(text) / 100 * 7 / 72


@lru_cache(maxsize=2)
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 100)


def destination(path: str | Path) -> Path:
    """`path`, if a picture can be written there; raises `ValueError` or `OSError` if not."""
    path = Path(path)
    if path.suffix.lower().lstrip(".") not in FORMATS:
        endings = ", ".join(f".{kind}" for kind in FORMATS)
        raise ValueError(f"expected a file name that ends in one of {endings}, got {str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder at {path.parent}; make it, or write elsewhere")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written to; write elsewhere")
    return path


def write(drawn: Figure, path: str | Path) -> Path:
    """Write the figure in the format that its file name ends in (.pdf, .svg, .png): whole, or not at all."""
    path = destination(path)
    kind = path.suffix.lower().lstrip(".")
    with settings(), whole(path) as draft:
        drawn.savefig(draft, format=kind, metadata=STAMPS[kind])
    return path
