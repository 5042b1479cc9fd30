"""The first map that differs between two runs, as a picture: the image, before, after, and the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from camfaith.benchmark.results.exact import Maps
from camfaith.benchmark.results.pictures import opened
from camfaith.reports.decision import clean
from camfaith.reports.panels import write
from camfaith.reports.style import WIDTH, figure, folded, label, settings
from camfaith.reports.view import number

_HEIGHT, _DPI = 2.4, 150


def draw(found: Maps) -> Figure:
    """Every cell of both maps in one scale of colours, from −max |M| to max |M| of the two, and their difference
    (candidate − base) in its own; red is positive."""
    maps = {"base": found.base, "candidate": found.candidate, "candidate − base": None}
    if found.base is not None and found.candidate is not None and found.base.shape == found.candidate.shape:
        maps["candidate − base"] = found.candidate.astype(float) - found.base
    end = max((_end(each) for each in (found.base, found.candidate) if each is not None), default=0.0)
    first = found.first
    with settings():
        page = figure(WIDTH, _HEIGHT, _DPI)
        axes = page.subplots(1, 4)
        page.subplots_adjust(left=0.01, right=0.99, top=0.8, bottom=0.0, wspace=0.06)
        names = (first.method, first.model, first.dataset, first.sample)
        method, model, dataset, sample = (label(clean(name), 40) for name in names)
        page.text(0.01, 0.98, folded(f"{method}, {model} on {dataset}, {sample}: {first.what}", 130), va="top")
        for place, ax in zip(("image", *maps), axes, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            drawn = maps.get(place)
            if place == "image" and found.picture is not None:
                ax.imshow(opened(found.picture).convert("RGB"))
                ax.set_title(place)
            elif drawn is not None:
                own = end if place in ("base", "candidate") else _end(drawn)
                ax.imshow(drawn, cmap="coolwarm", vmin=-own or -1, vmax=own or 1, interpolation="nearest")
                ax.set_title(f"{place}, ±{number(own)}")
            else:
                ax.set_facecolor("0.93")
                ax.set_title(f"{place}: none")
    return page


def save(found: Maps, path: str | Path) -> Path:
    """Write the picture in the format that its file name ends in (.png, .pdf, .svg)."""
    return write(draw(found), path)


def _end(values: NDArray[np.floating]) -> float:
    return float(np.abs(values).max(initial=0))
