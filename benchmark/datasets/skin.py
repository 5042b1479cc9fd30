"""Synthetic dermoscopic photographs: one lesion on skin, whose looks decide which of the seven kinds it is.

A lesion is drawn in coordinates of its own, around 0 and with radius about 1. A `View` takes it into the unit square:
photographs of one lesion differ by place, size, rotation, light, hairs and the dark corners that a dermatoscope leaves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camfaith.benchmark.datasets.fundus import Bools, Floats, centres, line_cover
from camfaith.benchmark.datasets.ham10000 import KINDS

_STRENGTH = (0.05, 0.85)
"""How clearly a lesion shows what tells its kind, at least and at most; half of them lie in the lowest quarter."""
_SPREAD = 0.07
_PER_THREE = 2  # lesions among three photographs: every other lesion is photographed twice


@dataclass(frozen=True)
class SkinPhotograph:
    """A picture with what is known of it; all arrays have its height and width."""

    pixels: NDArray[np.uint8]  # H×W×3, RGB
    kind: int  # index in `KINDS`
    lesion: int  # the number of the lesion, of which there may be several photographs
    mask: Bools  # the lesion; nothing outside of it differs from healthy skin
    content: Bools  # what a dermatoscope shows: everything, or a disc between dark corners


@dataclass(frozen=True)
class View:
    """How a lesion is photographed, in unit coordinates."""

    x: float
    y: float
    radius: float
    angle: float
    light: Floats  # the factor of each colour
    slope: tuple[float, float]  # of the light, along x and y
    hairs: tuple[NDArray[np.float64], ...]
    field: float | None  # the radius of the field between dark corners

    def into(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """The lesion's coordinates of a place in the picture."""
        across, down = (x - self.x) / self.radius, (y - self.y) / self.radius
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return cos * across + sin * down, cos * down - sin * across

    def out_of(self, line: NDArray[np.float64]) -> NDArray[np.float64]:
        """A line in the lesion's coordinates, points × (u, v, width), in those of the picture."""
        u, v, width = line.T
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.column_stack(
            (
                self.x + self.radius * (cos * u - sin * v),
                self.y + self.radius * (sin * u + cos * v),
                self.radius * width,
            )
        )


def lesion_of(index: int) -> int:
    """The lesion that photograph `index` shows: 0, 0, 1, 2, 2, 3, 4, 4, 5, …"""
    return _PER_THREE * index // 3


def kind_of(index: int) -> int:
    """The kind of lesion that photograph `index` shows."""
    return lesion_of(index) % len(KINDS)


def skin_photograph(
    index: int, *, seed: int = 0, split: str = "test", size: int = 96, healthy: bool = False
) -> SkinPhotograph:
    """Photograph `index` of a split; the same for the same arguments, byte by byte.

    `healthy` leaves the lesion away and changes nothing else.
    """
    if index < 0 or size < 32:
        raise ValueError(f"index must not be negative and size must be at least 32, got index={index}, size={size}")
    lesion, kind = lesion_of(index), kind_of(index)
    key = (seed, zlib.crc32(split.encode()))
    view = _view(np.random.default_rng((*key, 0, index)))
    rng = np.random.default_rng((*key, 1, lesion))
    x, y = centres(size)[None, :], centres(size)[:, None]
    u, v = view.into(x, y)
    picture = _skin(rng, u, v)
    contour, fading = _contour(rng, np.arctan2(v, u), kind)
    depth = contour - np.hypot(u, v)
    if not healthy:
        drawn = _Drawn(rng, view, u, v, (depth / contour).clip(0, 1), size)
        _LOOKS[KINDS[kind]](drawn)
        cover = (depth / fading).clip(0, 1)[..., None] * 0.95
        picture += cover * (drawn.colour - picture)
    hairs = line_cover(view.hairs, size)[..., None]
    picture += 0.85 * hairs * (np.array((0.13, 0.08, 0.06), np.float32) - picture)
    picture *= view.light * (1 + view.slope[0] * (x - 0.5) + view.slope[1] * (y - 0.5))[..., None]
    picture += np.random.default_rng((*key, 2, index)).normal(0, 0.018, (size, size, 3)).astype(np.float32)
    content = np.ones((size, size), bool)
    if view.field is not None:
        from_centre = np.hypot(x - 0.5, y - 0.5)
        content = from_centre <= view.field
        picture *= ((view.field + 0.01 - from_centre) / 0.04).clip(0.03, 1)[..., None]
    pixels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    return SkinPhotograph(pixels, kind, lesion, depth > 0, content)


def _view(rng: np.random.Generator) -> View:
    hairs = tuple(_hair(rng) for _ in range(int(rng.integers(2, 9)) if rng.random() < 0.4 else 0))
    return View(
        x=rng.uniform(0.4, 0.6),
        y=rng.uniform(0.4, 0.6),
        radius=rng.uniform(0.2, 0.3),
        angle=rng.uniform(0, 2 * np.pi),
        light=(rng.uniform(0.85, 1.08) * rng.uniform(0.96, 1.04, 3)).astype(np.float32),
        slope=(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)),
        hairs=hairs,
        field=rng.uniform(0.52, 0.62) if rng.random() < 0.35 else None,
    )


def _hair(rng: np.random.Generator) -> NDArray[np.float64]:
    start, heading, bend = rng.uniform(0, 1, 2), rng.uniform(0, 2 * np.pi), rng.uniform(-2, 2)
    angles = heading + bend * np.linspace(0, 1, 40)
    steps = 0.02 * np.column_stack((np.cos(angles), np.sin(angles)))
    return np.column_stack((start + np.cumsum(steps, 0), np.full(40, rng.uniform(0.006, 0.011))))


def _skin(rng: np.random.Generator, u: Floats, v: Floats) -> Floats:
    tone = rng.uniform((0.80, 0.60, 0.52), (0.92, 0.74, 0.66)) * rng.uniform(0.85, 1.05)
    shade = np.ones_like(u)
    for along, down, phase, amplitude in np.column_stack(
        (rng.normal(0, 1.5, (8, 2)), rng.uniform(0, 2 * np.pi, 8), rng.uniform(0.006, 0.02, 8))
    ):
        shade = shade + amplitude * np.cos(along * u + down * v + phase)
    skin: Floats = (shade[..., None] * tone).astype(np.float32)
    return skin


def _contour(rng: np.random.Generator, angle: Floats, kind: int) -> tuple[Floats, float]:
    """The lesion's radius in every direction, and the width over which it fades into the skin."""
    uneven, fading = _EDGE[KINDS[kind]]
    waves = np.arange(2, 9)
    heights = rng.normal(0, uneven, len(waves)) * 2 / waves
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    radius = sum(h * np.cos(k * angle + p) for k, h, p in zip(waves, heights, phases, strict=True))
    return (1 + np.clip(radius, -0.5, 0.5)).astype(np.float32), fading


_EDGE = {
    "akiec": (0.06, 0.4),
    "bcc": (0.05, 0.3),
    "bkl": (0.05, 0.12),
    "df": (0.04, 0.3),
    "mel": (0.12, 0.15),
    "nv": (0.04, 0.2),
    "vasc": (0.05, 0.2),
}
"""How uneven the contour is, and the width over which it fades, in radii."""


class _Drawn:
    """The plane on which one lesion's looks are drawn, layer over layer; some lesions show them faintly."""

    def __init__(self, rng: np.random.Generator, view: View, u: Floats, v: Floats, depth: Floats, size: int) -> None:
        self.rng, self.view, self.u, self.v, self.depth, self.size = rng, view, u, v, depth, size
        self.colour: Floats = np.zeros((*u.shape, 3), np.float32)
        self._strength = np.float32(_STRENGTH[0] + (_STRENGTH[1] - _STRENGTH[0]) * rng.random() ** 2)

    def fill(self, *colour: float) -> None:
        """One colour, which differs between lesions by up to `_SPREAD`."""
        self.colour[:] = np.array(colour) + self.rng.uniform(-_SPREAD, _SPREAD, 3)

    def over(self, cover: NDArray[np.floating[Any]], *colour: float) -> None:
        """A layer of a colour, as dense as `cover`, and fainter in a faint lesion."""
        self.colour += self._strength * cover[..., None] * (np.array(colour, np.float32) - self.colour)

    def spots(
        self, count: tuple[int, int], radius: tuple[float, float], within: float, *colour: float, soft: float = 0.3
    ) -> None:
        """So many round spots at random within `within` of the centre; `soft` is the share of a spot that fades."""
        for _ in range(int(self.rng.integers(*count, endpoint=True))):
            away, angle = within * np.sqrt(self.rng.random()), self.rng.uniform(0, 2 * np.pi)
            size = self.rng.uniform(*radius)
            distance = np.hypot(self.u - away * np.cos(angle), self.v - away * np.sin(angle))
            self.over(((size - distance) / (soft * size)).clip(0, 1), *colour)

    def lattice(self, period: float) -> Floats:
        """A hexagonal lattice from 0 (between) to 1 (on its points): three waves, 60° apart."""
        turns = self.rng.uniform(0, np.pi) + np.arange(3) * np.pi / 3
        waves = [np.cos(2 * np.pi / period * (np.cos(turn) * self.u + np.sin(turn) * self.v)) for turn in turns]
        return np.asarray((sum(waves) + 1.5) / 4.5, np.float32)


def _akiec(drawn: _Drawn) -> None:
    """Red, with pale follicles in rows: a strawberry."""
    drawn.fill(0.80, 0.45, 0.41)
    drawn.over(0.8 * drawn.lattice(0.42) ** 2, 0.97, 0.86, 0.74)


def _bcc(drawn: _Drawn) -> None:
    """Pale pink, with branching red vessels and a few blue-grey nests."""
    drawn.fill(0.80, 0.50, 0.48)
    drawn.spots((2, 4), (0.14, 0.24), 0.65, 0.36, 0.40, 0.54)
    lines = [drawn.view.out_of(line) for _ in range(3) for line in _branching(drawn.rng)]
    drawn.over(0.9 * line_cover(lines, drawn.size), 0.72, 0.08, 0.12)


def _bkl(drawn: _Drawn) -> None:
    """Dull tan, sharply bordered, with bright cysts and dark openings."""
    drawn.fill(0.50, 0.34, 0.22)
    drawn.spots((4, 7), (0.06, 0.11), 0.8, 0.24, 0.15, 0.09)
    drawn.spots((8, 14), (0.06, 0.11), 0.8, 1.0, 0.94, 0.72)


def _df(drawn: _Drawn) -> None:
    """A pale brown halo around a white scar."""
    drawn.fill(0.52, 0.36, 0.26)
    scar = ((drawn.depth - drawn.rng.uniform(0.4, 0.5)) / 0.2).clip(0, 1)
    drawn.over(0.95 * scar, 0.96, 0.87, 0.82)


def _mel(drawn: _Drawn) -> None:
    """Dark brown, uneven, with patches of black, blue-grey, light brown and red."""
    drawn.fill(0.44, 0.28, 0.19)
    drawn.spots((1, 2), (0.35, 0.55), 0.6, 0.55, 0.34, 0.20, soft=0.4)
    drawn.spots((1, 2), (0.3, 0.5), 0.6, 0.34, 0.38, 0.48, soft=0.5)
    drawn.spots((2, 3), (0.25, 0.45), 0.7, 0.07, 0.05, 0.06, soft=0.4)
    drawn.spots((0, 1), (0.2, 0.3), 0.6, 0.66, 0.25, 0.22, soft=0.5)


def _nv(drawn: _Drawn) -> None:
    """Even brown, with a regular network that thins out towards the edge."""
    drawn.fill(0.47, 0.31, 0.21)
    drawn.over(0.6 * (1 - drawn.lattice(0.3)) ** 2 * np.sqrt(drawn.depth), 0.22, 0.12, 0.07)


def _vasc(drawn: _Drawn) -> None:
    """Round lacunae, red to purple."""
    drawn.fill(0.78, 0.44, 0.44)
    drawn.spots((3, 5), (0.22, 0.36), 0.7, 0.58, 0.05, 0.12)
    drawn.spots((2, 4), (0.2, 0.34), 0.7, 0.36, 0.04, 0.20)


def _branching(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """A vessel from the rim inwards with two branches, in the lesion's coordinates."""
    angle = rng.uniform(0, 2 * np.pi)
    trunk = _vessel(rng, 0.85 * np.cos(angle), 0.85 * np.sin(angle), angle + np.pi + rng.uniform(-0.5, 0.5), 0.09, 1.1)
    forks = [trunk[len(trunk) * k // 4] for k in (1, 2)]
    return [trunk, *(_vessel(rng, x, y, rng.uniform(0, 2 * np.pi), 0.6 * width, 0.6) for x, y, width in forks)]


def _vessel(
    rng: np.random.Generator, x: float, y: float, heading: float, width: float, length: float
) -> NDArray[np.float64]:
    angles = heading + np.cumsum(rng.normal(0, 0.16, 24))
    step = length / 24
    return np.column_stack(
        (x + np.cumsum(step * np.cos(angles)), y + np.cumsum(step * np.sin(angles)), width * np.linspace(1, 0.4, 24))
    )


_LOOKS: Mapping[str, Callable[[_Drawn], None]] = {
    "akiec": _akiec,
    "bcc": _bcc,
    "bkl": _bkl,
    "df": _df,
    "mel": _mel,
    "nv": _nv,
    "vasc": _vasc,
}
