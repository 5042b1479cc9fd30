"""The round field of view that a fundus camera or a dermatoscope leaves in a dark frame, found from the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from camfaith.benchmark.datasets.pictures import mask_of

SIDE = 256
"""The longer side at which the field is looked for; a circle found there is exact to a fraction of its pixels."""

DARK = 0.12
"""What is darker than this share of the picture's bright level (its 90th percentile) may be frame."""

NEAR = 0.012
"""How near to the circle a point of the edge must lie, in radii."""

ALIKE = 0.8
"""The least intersection over union of the circle with what is bright."""

LEAST = 0.05
"""What is bright in less than this share of the picture is a speck in a dark picture, and no field."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Circle = tuple[float, float, float]
"""The centre's x and y, and the radius."""


def field_of(picture: Image.Image) -> Image.Image:
    """The field of view as 8-bit grey of the picture's size, 255 inside and 0 outside.

    What is brighter than the frame, in its largest piece, shows where the field's edge is. The field is the circle on
    which most of the edge lies, so that a dark rim belongs to it and a notch or a glow outside does not; the picture's
    own edges may cut it off. Where no circle fits, the field is that piece, its holes filled. A picture without a dark
    frame is field throughout, and so is one that is dark but for a speck.
    """
    factor = max(1, max(picture.size) // SIDE)
    bright = _bright(picture.reduce(factor))
    if bright.all() or bright.mean() < LEAST:
        return Image.new("L", picture.size, 255)
    circle = _circle(_edge(bright))
    if circle is None or _overlap(_disc(circle, bright.shape), bright) < ALIKE:
        return mask_of(bright).resize(picture.size, Image.Resampling.NEAREST)
    x, y, radius = circle
    return mask_of(_disc((factor * x, factor * y, factor * radius), picture.size[::-1]))


def _disc(circle: Circle, shape: tuple[int, ...]) -> Bools:
    x, y, radius = circle
    down, across = (np.arange(side) + 0.5 for side in shape)
    inside: Bools = (across[None, :] - x) ** 2 + (down[:, None] - y) ** 2 <= radius**2
    return inside


def _overlap(first: Bools, second: Bools) -> float:
    return float((first & second).sum() / (first | second).sum())


def _bright(picture: Image.Image) -> Bools:
    """The largest piece that is brighter than a frame, its holes filled."""
    values = np.asarray(picture, float)
    level = values.max(-1) if values.ndim == 3 else values
    bright = level > DARK * np.percentile(level, 90)
    pieces, count = ndimage.label(bright)
    if count > 1:
        bright = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    filled: Bools = ndimage.binary_fill_holes(bright) if count else np.ones_like(bright)
    return filled


def _edge(inside: Bools) -> Floats:
    """Where each row and each column enters and leaves the piece, short of the picture's own edges: points × (x, y)."""
    points = []
    for plane, flip in ((inside, False), (inside.T, True)):
        lines = np.flatnonzero(plane.any(1))
        first, last = plane[lines].argmax(1), plane.shape[1] - plane[lines][:, ::-1].argmax(1)
        for place, kept in ((first, first > 0), (last, last < plane.shape[1])):
            found = np.column_stack((place[kept], lines[kept] + 0.5))
            points.append(found[:, ::-1] if flip else found)
    return np.concatenate(points).astype(float)


def _circle(points: Floats) -> Circle | None:
    """The circle near which most points lie, tried through random three (Fischler, Bolles 1981); None of few points."""
    if len(points) < 16:
        return None
    rng = np.random.default_rng(0)
    drawn = (points[rng.choice(len(points), 3, replace=False)] for _ in range(80))
    best = max((_near(points, circle) for circle in map(_through, drawn) if circle), key=np.sum, default=None)
    return None if best is None else _through(points[best])


def _near(points: Floats, circle: Circle) -> Bools:
    x, y, radius = circle
    near: Bools = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius) < NEAR * radius
    return near


def _through(points: Floats) -> Circle | None:
    """The circle nearest to the points by least squares of x² + y² = 2ax + 2by + c (Kåsa 1976)."""
    centre = points.mean(0)
    x, y = (points - centre).T
    (a, b, c), _, rank, _ = np.linalg.lstsq(np.column_stack((2 * x, 2 * y, np.ones_like(x))), x**2 + y**2)
    if rank < 3:
        return None
    return float(a + centre[0]), float(b + centre[1]), float(np.sqrt(c + a**2 + b**2))
