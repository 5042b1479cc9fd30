"""What a synthetic fundus photograph shows: an eye, its vessels, and lesions placed where there is room.

Everything is in coordinates where the picture is the unit square (x to the right, y down), so that any size shows the
same scene.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camfaith.models.reference import GRADES

KINDS = ("microaneurysm", "haemorrhage", "exudate")

RETINA_RADIUS = 0.452  # leaves the four corner cells of a 6×6 grid black

# How many of (microaneurysms, haemorrhages, exudates) a grade has: inclusive ranges.
_COUNTS = (
    ((0, 0), (0, 0), (0, 0)),
    ((3, 6), (0, 0), (0, 0)),
    ((1, 4), (2, 3), (0, 0)),
    ((0, 4), (1, 3), (1, 3)),
    ((1, 4), (6, 8), (6, 8)),
)
_LESION_RADIUS = {
    "microaneurysm": (1.3 / 96, 1.8 / 96),
    "haemorrhage": (3 / 96, 4.6 / 96),
    "exudate": (2.6 / 96, 4 / 96),
}


@dataclass(frozen=True)
class Lesion:
    """One lesion in unit coordinates: the union of `spots`, each (x, y, radius), inside `radius` of (x, y)."""

    kind: str
    x: float
    y: float
    radius: float
    spots: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Scene:
    """What is photographed: an eye and its lesions, in unit coordinates (x to the right, y down)."""

    disc: tuple[float, float, float]
    macula: tuple[float, float]
    vessels: tuple[NDArray[np.float64], ...]  # each: points × (x, y, width)
    colour: tuple[float, float, float]
    light: tuple[float, float, float]  # slope along x, slope along y, darkening at the rim
    texture: NDArray[np.float64]  # waves × (frequency along x, frequency along y, phase, amplitude)
    lesions: tuple[Lesion, ...]
    noise: tuple[int, ...]  # seed of the sensor noise


def scene(index: int, *, seed: int = 0, split: str = "test") -> Scene:
    """What photograph `index` shows."""
    key = (seed, zlib.crc32(split.encode()), index)
    eye, disease = (np.random.default_rng((*key, part)) for part in (0, 1))
    side = -1.0 if eye.random() < 0.5 else 1.0  # on which side of the macula the disc lies
    disc = (0.5 + side * eye.uniform(0.2, 0.25), 0.5 + eye.uniform(-0.03, 0.03), eye.uniform(0.052, 0.064))
    macula = (0.5 - side * eye.uniform(0.04, 0.09), disc[1] + eye.uniform(0.0, 0.03))
    vessels = _vessels(eye, disc, side)
    brightness = eye.uniform(0.88, 1.08)
    red, green, blue = eye.uniform((0.72, 0.27, 0.08), (0.84, 0.37, 0.16)) * brightness
    waves = np.column_stack(
        (eye.normal(0, 4.0, (8, 2)), eye.uniform(0, 2 * np.pi, 8), eye.uniform(0.008, 0.025, 8)),
    )
    return Scene(
        disc=disc,
        macula=macula,
        vessels=vessels,
        colour=(float(red), float(green), float(blue)),
        light=(eye.uniform(-0.25, 0.25), eye.uniform(-0.25, 0.25), eye.uniform(0.25, 0.42)),
        texture=waves,
        lesions=_lesions(disease, index % len(GRADES), disc, macula, vessels),
        noise=(*key, 2),
    )


def _vessels(
    rng: np.random.Generator, disc: tuple[float, float, float], side: float
) -> tuple[NDArray[np.float64], ...]:
    """Four arcades out of the disc, the two temporal ones bent around the macula, with one level of branches."""
    temporal = np.pi if side > 0 else 0.0
    grown = []
    for half in (-1.0, 1.0):
        turn = half * side  # the sign by which a heading turns away from the temporal direction, image y down
        for angle, bend, width in ((1.35, -2.6, 0.024), (2.3, 0.6, 0.018)):
            start = temporal - turn * (angle + rng.uniform(-0.2, 0.2))
            trunk = _walk(rng, disc[0], disc[1], start, -turn * (bend + rng.uniform(-0.5, 0.5)), width, 0.75)
            grown.append(trunk)
            for at in (0.25, 0.5, 0.7):
                point = trunk[int(at * (len(trunk) - 1))]
                ahead = trunk[min(int(at * (len(trunk) - 1)) + 1, len(trunk) - 1)]
                heading = float(np.arctan2(ahead[1] - point[1], ahead[0] - point[0]))
                fork = rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 0.9)
                branch = _walk(rng, point[0], point[1], heading + fork, rng.uniform(-2, 2), point[2] * 0.6, 0.26)
                grown.append(branch)
    return tuple(grown)


def _walk(
    rng: np.random.Generator, x: float, y: float, heading: float, bend: float, width: float, length: float
) -> NDArray[np.float64]:
    """A vessel that starts at (x, y) and thins to a third: points × (x, y, width)."""
    step = 0.016
    count = int(length / step)
    angles = heading + bend * step * np.arange(count) + np.cumsum(rng.normal(0, 0.07, count))
    xs = x + np.concatenate(((0.0,), np.cumsum(np.cos(angles) * step)))
    ys = y + np.concatenate(((0.0,), np.cumsum(np.sin(angles) * step)))
    points = np.column_stack((xs, ys, width * np.linspace(1, 0.33, count + 1)))
    outside = np.hypot(xs - 0.5, ys - 0.5) > RETINA_RADIUS
    return points[: max(int(outside.argmax()), 2)] if outside.any() else points


def _lesions(
    rng: np.random.Generator,
    grade: int,
    disc: tuple[float, float, float],
    macula: tuple[float, float],
    vessels: tuple[NDArray[np.float64], ...],
) -> tuple[Lesion, ...]:
    """The grade's lesions: inside the retina, off the disc, the fovea, the vessels and one another."""
    wanted = {
        kind: int(rng.integers(low, high, endpoint=True))
        for kind, (low, high) in zip(KINDS, _COUNTS[grade], strict=True)
    }
    points = np.concatenate(vessels)
    placed: list[tuple[float, float, float]] = [(disc[0], disc[1], disc[2] + 0.01), (macula[0], macula[1], 0.03)]
    found = []
    for kind in ("haemorrhage", "exudate", "microaneurysm"):  # the large ones first, while there is room
        for _ in range(wanted[kind]):
            radius = float(rng.uniform(*_LESION_RADIUS[kind]))
            x, y = _free_place(rng, radius, points, placed)
            placed.append((x, y, radius))
            found.append(Lesion(kind, x, y, radius, _spots(rng, kind, x, y, radius)))
    return tuple(found)


def _free_place(
    rng: np.random.Generator, radius: float, vessels: NDArray[np.float64], placed: list[tuple[float, float, float]]
) -> tuple[float, float]:
    """The first of 96 random places that is free, or the one with the most room."""
    distance = (RETINA_RADIUS - 0.03 - radius) * np.sqrt(rng.random(96))
    angle = rng.uniform(0, 2 * np.pi, 96)
    xs, ys = 0.5 + distance * np.cos(angle), 0.5 + distance * np.sin(angle)
    x, y, r = np.array(placed).T
    others = (np.hypot(xs[:, None] - x, ys[:, None] - y) - r).min(1) - radius - 0.014
    drawn = np.sqrt(((xs[:, None] - vessels[:, 0]) ** 2 + (ys[:, None] - vessels[:, 1]) ** 2).min(1)) - 0.01
    # Another lesion must never be touched; a vessel may be, where there is no other room.
    room = np.minimum(np.where(others < 0, 10 * others - 1, others), drawn - radius - 0.007)
    best = int((room >= 0).argmax()) if (room >= 0).any() else int(room.argmax())
    return float(xs[best]), float(ys[best])


def _spots(
    rng: np.random.Generator, kind: str, x: float, y: float, radius: float
) -> tuple[tuple[float, float, float], ...]:
    if kind == "microaneurysm":
        return ((x, y, radius),)
    count = 6
    angles = np.arange(count) * 2 * np.pi / count + rng.uniform(-0.4, 0.4, count)
    if kind == "haemorrhage":  # lobes around a core: an irregular blot
        radii = radius * rng.uniform(0.3, 0.5, count)
        away = radius - radii
        core = (x, y, 0.7 * radius)
    else:  # separate small deposits
        radii = rng.uniform(0.75 / 96, 1.15 / 96, count)
        away = (radius - radii) * rng.uniform(0.75, 1.0, count)
        core = (x, y, float(rng.uniform(0.9 / 96, 1.3 / 96)))
    ring = zip(x + away * np.cos(angles), y + away * np.sin(angles), radii, strict=True)
    return (core, *((float(a), float(b), float(r)) for a, b, r in ring))
