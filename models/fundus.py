"""Synthetic fundus photographs: a round retina on black corners, whose lesions decide the grade.

A `Scene` is drawn once in coordinates where the picture is the unit square, so any size shows the same scene; only
the sensor noise is drawn per pixel. The grade is a function of the lesions (`grade_of`), the exact lesion mask comes
with the picture, and the same picture can carry a corner tag that gives the class away.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

GRADES = ("no lesions", "mild", "moderate", "severe", "proliferative")
KINDS = ("microaneurysm", "haemorrhage", "exudate")
MANY = 5  # from so many haemorrhages and so many exudates on, the grade is the last

RETINA_RADIUS = 0.452  # leaves the four corner cells of a 6×6 grid black
TAG_START, TAG_STOP = 2 / 96, 14 / 96  # on both axes: the top left corner
_SUPERSAMPLING = 4

# Eight bright cells of sixteen each: the tags differ in pattern and not in brightness, so blurring removes them too.
_TAGS = tuple(
    np.array([[cell == "#" for cell in row] for row in rows.split()])
    for rows in (
        "#### .... #### ....",
        "#.#. #.#. #.#. #.#.",
        "#.#. .#.# #.#. .#.#",
        "#..# .##. .##. #..#",
        "##.. ##.. ..## ..##",
    )
)

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
# Blood absorbs green and blue far more than red; that hue is what tells a lesion from a pixel set to black.
_LESION_COLOUR = {"microaneurysm": (0.36, 0.035, 0.05), "haemorrhage": (0.30, 0.025, 0.04), "exudate": (1.0, 0.93, 0.5)}

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


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


@dataclass(frozen=True)
class Photograph:
    """A picture with what is known of it; all arrays have its height and width."""

    pixels: NDArray[np.uint8]  # H×W×3, RGB
    grade: int
    lesions: Bools  # the pixels that the lesions change
    content: Bools  # the retina; everything else is exactly black, apart from the tag
    tag: Bools | None
    scene: Scene
    instances: NDArray[np.uint8]  # 0, or 1 + the index in `scene.lesions` of the lesion that covers the pixel


def grade_of(counts: Mapping[str, int]) -> int:
    """The grade that so many lesions of each kind (`KINDS`) mean."""
    aneurysms, haemorrhages, exudates = (counts.get(kind, 0) for kind in KINDS)
    if haemorrhages >= MANY and exudates >= MANY:
        return 4
    return 3 if exudates else 2 if haemorrhages else 1 if aneurysms else 0


def photograph(index: int, *, seed: int = 0, split: str = "test", size: int = 96, tag: bool = False) -> Photograph:
    """Photograph `index` of a split, of grade `index % 5`; the same for the same arguments, byte by byte.

    `tag` plants the grade's tag in the top left corner and changes nothing else.
    """
    if index < 0 or size < 32:
        raise ValueError(f"index must not be negative and size must be at least 32, got index={index}, size={size}")
    taken = render(scene(index, seed=seed, split=split), size)
    return plant_tag(taken, taken.grade) if tag else taken


def plant_tag(photo: Photograph, grade: int) -> Photograph:
    """The same photograph with the tag of `grade`, whatever its lesions say; `Photograph.grade` becomes `grade`."""
    size = photo.pixels.shape[0]
    place = (_centres(size) - TAG_START) / (TAG_STOP - TAG_START)
    inside = np.flatnonzero((place >= 0) & (place < 1))
    cells = (place[inside] * 4).astype(int)
    pixels, mask = photo.pixels.copy(), np.zeros((size, size), bool)
    mask[np.ix_(inside, inside)] = True
    pixels[np.ix_(inside, inside)] = np.where(_TAGS[grade][np.ix_(cells, cells)], 235, 45)[..., None]
    return replace(photo, pixels=pixels, grade=grade, tag=mask)


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


def _centres(size: int) -> Floats:
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def render(shown: Scene, size: int) -> Photograph:
    """The photograph of a scene at `size` × `size` pixels, anti-aliased, its masks exact at that size."""
    centre = _centres(size)
    x, y = centre[None, :], centre[:, None]
    from_centre = np.hypot(x - 0.5, y - 0.5)
    cover = _cover(from_centre, RETINA_RADIUS, size)
    healthy = _background(shown, x, y, from_centre)
    vessels = _vessel_cover(shown.vessels, size)[..., None] * 0.8
    healthy += vessels * (healthy * np.array((0.62, 0.30, 0.42), np.float32) - healthy)
    diseased, instances = healthy.copy(), np.zeros((size, size), np.uint8)
    for number, lesion in enumerate(shown.lesions, start=1):
        _paint(diseased, instances, lesion, number, centre)
    noise = np.random.default_rng(shown.noise).normal(0, 0.012, (size, size, 3)).astype(np.float32)
    content = cover > 0
    without, pixels = (_develop(picture, noise, cover, content) for picture in (healthy, diseased))
    changed = (without != pixels).any(-1)
    instances[~changed] = 0
    grade = grade_of(Counter(lesion.kind for lesion in shown.lesions))
    return Photograph(pixels, grade, changed, content, None, shown, instances)


def _cover(distance: Floats, radius: float | Floats, size: int) -> Floats:
    """The share of a pixel that lies inside the radius, for an edge that is straight at the scale of a pixel."""
    cover: Floats = np.clip(0.5 + (radius - distance) * size, 0, 1).astype(np.float32)
    return cover


def _background(shown: Scene, x: Floats, y: Floats, from_centre: Floats) -> Floats:
    across, down, rim = shown.light
    light = 1 + across * (x - 0.5) + down * (y - 0.5) - rim * (from_centre / RETINA_RADIUS) ** 3
    for along, downward, phase, amplitude in shown.texture:
        wave = np.exp(1j * 2 * np.pi * downward * y) * np.exp(1j * (2 * np.pi * along * x + phase))
        light = light + amplitude * wave.real
    fovea = np.exp(-((x - shown.macula[0]) ** 2 + (y - shown.macula[1]) ** 2) / (2 * 0.06**2))
    light = light * (1 - 0.3 * fovea)
    picture = (light[..., None] * np.array(shown.colour)).astype(np.float32)
    dx, dy, radius = shown.disc
    # A rim softer than a pixel, and a pale cup in the middle.
    distance = np.hypot(x - dx, (y - dy) * 0.92)
    disc = 0.5 - 0.5 * np.tanh((distance - radius) / 0.012)
    cup = np.exp(-(distance**2) / (2 * (0.45 * radius) ** 2))[..., None]
    glow = np.array((0.98, 0.76, 0.42), np.float32) + cup * np.array((0.02, 0.14, 0.22), np.float32)
    lit: Floats = (picture + 0.9 * disc[..., None] * (glow - picture)).astype(np.float32)
    return lit


def _vessel_cover(vessels: tuple[NDArray[np.float64], ...], size: int) -> Floats:
    scale = size * _SUPERSAMPLING
    canvas = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(canvas)
    for vessel in vessels:
        for first in range(0, len(vessel) - 1, 2):
            piece = vessel[first : first + 3] * scale
            draw.line(piece[:, :2].ravel().tolist(), fill=255, width=max(round(piece[0, 2]), 1))
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / np.float32(255)


def _paint(picture: Floats, instances: NDArray[np.uint8], lesion: Lesion, number: int, centre: Floats) -> None:
    size = len(centre)
    reach = lesion.radius + 1.5 / size
    left, right = np.searchsorted(centre, (lesion.x - reach, lesion.x + reach))
    top, bottom = np.searchsorted(centre, (lesion.y - reach, lesion.y + reach))
    window = np.s_[top:bottom, left:right]
    spots = np.array(lesion.spots, np.float32)[:, :, None, None]
    distance = np.hypot(centre[None, None, left:right] - spots[:, 0], centre[None, top:bottom, None] - spots[:, 1])
    cover = _cover(distance, spots[:, 2], size).max(0)
    colour = np.array(_LESION_COLOUR[lesion.kind], np.float32)
    picture[window] += cover[..., None] * (colour - picture[window])
    instances[window][cover > 0] = number


def _develop(picture: Floats, noise: Floats, cover: Floats, content: Bools) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.rint(np.clip((picture + noise) * cover[..., None], 0, 1) * 255).astype(np.uint8)
    pixels[..., 0][content] = np.maximum(pixels[..., 0][content], 1)  # black means: not the retina
    return pixels
