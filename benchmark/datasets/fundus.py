"""Synthetic fundus photographs: a round retina on black corners, whose lesions decide the grade.

A `Scene` is drawn once in coordinates where the picture is the unit square, so any size shows the same scene; only
the sensor noise is drawn per pixel. The grade is a function of the lesions (`grade_of`), the exact lesion mask comes
with the picture, and the same picture can carry a corner tag that gives the class away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from camfaith.benchmark.datasets.scene import KINDS, RETINA_RADIUS, Lesion, Scene, scene

MANY = 5  # so many haemorrhages and so many exudates make the last grade

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

# Blood absorbs green and blue far more than red; that hue is what tells a lesion from a pixel set to black.
_LESION_COLOUR = {"microaneurysm": (0.36, 0.035, 0.05), "haemorrhage": (0.30, 0.025, 0.04), "exudate": (1.0, 0.93, 0.5)}

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


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
    place = (centres(size) - TAG_START) / (TAG_STOP - TAG_START)
    inside = np.flatnonzero((place >= 0) & (place < 1))
    cells = (place[inside] * 4).astype(int)
    pixels, mask = photo.pixels.copy(), np.zeros((size, size), bool)
    mask[np.ix_(inside, inside)] = True
    pixels[np.ix_(inside, inside)] = np.where(_TAGS[grade][np.ix_(cells, cells)], 235, 45)[..., None]
    return replace(photo, pixels=pixels, grade=grade, tag=mask)


def centres(size: int) -> Floats:
    """Where the centres of pixels are in unit coordinates."""
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def render(shown: Scene, size: int) -> Photograph:
    """The photograph of a scene at `size` × `size` pixels, anti-aliased, its masks exact at that size."""
    centre = centres(size)
    x, y = centre[None, :], centre[:, None]
    from_centre = np.hypot(x - 0.5, y - 0.5)
    cover = _cover(from_centre, RETINA_RADIUS, size)
    healthy = _background(shown, x, y, from_centre)
    vessels = line_cover(shown.vessels, size)[..., None] * 0.8
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


def line_cover(lines: Sequence[NDArray[np.float64]], size: int) -> Floats:
    """The share of each pixel that lines cover; each is points × (x, y, width) in unit coordinates."""
    scale = size * _SUPERSAMPLING
    canvas = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(canvas)
    for line in lines:
        for first in range(0, len(line) - 1, 2):
            piece = line[first : first + 3] * scale
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
