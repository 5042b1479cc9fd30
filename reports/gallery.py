"""Pictures with every method's map over them, for the images that came out best and worst."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from camfaith.benchmark.results.store import map_of
from camfaith.reports.view import Block, Judged, View, file_stem, number, shortened

EACH = 3
"""Cases at either end."""
_TILE, _GAP, _LINE, _ACROSS = 160, 10, 20, 10
_INK, _PALE, _GROUND = (25, 25, 25), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Case:
    """One image of the gallery: how it came out, and by what."""

    sample: str
    best: bool
    score: float


@dataclass(frozen=True)
class Wall:
    """The gallery of one block: the picture's path, and the column that chose the images."""

    block: Block
    path: Path
    column: Judged
    cases: Sequence[Case]


def hang(view: View, folder: Path) -> list[Wall]:
    """Draw the gallery of every block that has maps and pictures; gives what was drawn."""
    column = judge_of(view)
    if column is None:
        return []
    chosen = {block: choose(view, block, column) for block in view.blocks}
    samples = {case.sample for cases in chosen.values() for case in cases}
    pictures, maps = view.picked("pictures", samples), view.picked("maps", samples)
    walls = []
    for block, cases in chosen.items():
        own, over = view.of(block, pictures), view.of(block, maps)
        shown = [case for case in cases if case.sample in set(own["sample"])]
        if not shown or not len(over):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{file_stem(*block)}.png"
        _wall(view, block, column, shown, own, over).save(path, compress_level=4)
        walls.append(Wall(block, path, column, shown))
    return walls


def judge_of(view: View) -> Judged | None:
    """The column that says which images came out well: insertion's, else the first that has a direction."""
    insertion = view.metrics_named("insertion")
    return next((c for c in view.ranked if c.metric in insertion), next(iter(view.ranked), None))


def choose(view: View, block: Block, column: Judged, each: int = EACH) -> list[Case]:
    """The best images and the worst, by the column's mean over the methods that are no controls, best first."""
    rows = view.of(block, view.scores)
    rows = rows[(rows["metric"] == column.metric) & (rows["column"] == column.column)]
    rows = rows[~rows["method"].isin(view.controls) & np.isfinite(rows["value"].astype(float))]
    means = rows.groupby("sample")["value"].mean().sort_index()
    means = means.sort_values(ascending=column.better == "lower", kind="stable")
    found = [(str(sample), float(mean)) for sample, mean in means.items()]
    best = found[: min(each, (len(found) + 1) // 2)]
    worst = found[len(best) :][-each:]
    return [*(Case(s, True, v) for s, v in best), *(Case(s, False, v) for s, v in worst)]


def heatmap(raw: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A raw map as it is shown: positive part, bilinear to (width, height), stretched to [0, 1]. A constant map is 1
    where it is positive, else 0. In a map of that size itself the 0.5 % of the pixels that have most are 1, unless no
    others have anything: else one pixel would set the scale."""
    positive = np.maximum(raw, 0)
    of_pixels = positive.shape == size[::-1]
    if not of_pixels:
        positive = np.asarray(Image.fromarray(positive).resize(size, Image.Resampling.BILINEAR))
    low, high = positive.min(), positive.max()
    if high <= low:
        return (positive > 0).astype(np.float32)
    within = np.quantile(positive, 0.995, method="inverted_cdf") if of_pixels else high
    return np.asarray((positive - low) / ((within if within > low else high) - low), np.float32).clip(max=1)


def overlay(picture: Image.Image, shown: NDArray[np.float32]) -> Image.Image:
    """A heat map in colour over the picture in grey, so that every hue is the map's."""
    colours = Image.fromarray(colormaps["inferno"](shown, bytes=True)[..., :3].copy())
    return Image.blend(picture.convert("L").convert("RGB"), colours, 0.5)


def outlined(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the mask's edge in white on black, so that it shows on any ground."""
    inside = mask.convert("L").resize(picture.size, Image.Resampling.NEAREST)
    wide = ImageChops.difference(inside.filter(ImageFilter.MaxFilter(5)), inside.filter(ImageFilter.MinFilter(3)))
    edge = ImageChops.difference(inside.filter(ImageFilter.MaxFilter(3)), inside)
    drawn = picture.convert("RGB")
    drawn.paste((0, 0, 0), mask=wide)
    drawn.paste((255, 255, 255), mask=edge)
    return drawn


def _wall(
    view: View, block: Block, column: Judged, cases: Sequence[Case], pictures: pd.DataFrame, maps: pd.DataFrame
) -> Image.Image:
    values = view.of(block, view.scores)
    values = values[(values["metric"] == column.metric) & (values["column"] == column.column)]
    methods = [m for m in view.methods if m in set(maps["method"])]
    strips = []
    for case in cases:
        row = pictures[pictures["sample"] == case.sample].iloc[-1]
        own = {r["method"]: r for r in maps[maps["sample"] == case.sample].to_dict("records")}
        per_method = values[values["sample"] == case.sample].set_index("method")["value"].to_dict()
        tiles = _tiles(row, methods, own, per_method)
        strips.append(_strip(_caption(view, block, column, case, row), tiles))
    height = sum(strip.height for strip in strips) + 2 * _GAP * len(strips)
    wall = Image.new("RGB", (max(strip.width for strip in strips), height), _GROUND)
    top = _GAP
    for strip in strips:
        wall.paste(strip, (0, top))
        top += strip.height + 2 * _GAP
    return wall


Tile = tuple[str, Image.Image | None, str]


def _tiles(
    row: Any, methods: Sequence[str], maps: Mapping[Any, Mapping[Any, Any]], values: Mapping[Any, float]
) -> list[Tile]:
    """Name, picture and line beneath: the image, its mask where it has one, and every method's map."""
    picture = Image.open(io.BytesIO(row["image"])).convert("RGB")
    tiles: list[Tile] = [("image", _sized(picture), "")]
    if isinstance(row["mask"], bytes):
        mask = Image.open(io.BytesIO(row["mask"]))
        tiles.append(("mask", outlined(_sized(picture), _sized(mask)), "" if mask.getbbox() else "empty"))
    for method in methods:
        value = number(values.get(method, float("nan")))
        if method not in maps:
            tiles.append((method, None, "no map"))
            continue
        raw = map_of(maps[method])
        flat = " (constant)" if np.maximum(raw, 0).max() <= np.maximum(raw, 0).min() else ""
        tiles.append((method, _sized(overlay(picture, heatmap(raw, picture.size))), f"{value}{flat}"))
    return tiles


def _sized(picture: Image.Image) -> Image.Image:
    """The picture in a tile's square, its proportions kept."""
    scale = _TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC if picture.mode == "RGB" else Image.Resampling.NEAREST)


def _caption(view: View, block: Block, column: Judged, case: Case, row: Any) -> str:
    model: Mapping[str, Any] = next((m for m in view.info.get("models", ()) if m.get("name") == block.model), {})
    classes = model.get("classes") or []
    truth, target = (_class_name(classes, row[key]) for key in ("label", "target"))
    explained = f"explained: {target}{' (predicted)' if view.target == 'predicted' else ''}"
    title = f"{'best' if case.best else 'worst'}: {shortened(' '.join(case.sample.split()), 60)}"
    return f"{title}   ·   label: {truth}   ·   {explained}   ·   mean {column.title} {number(case.score)}"


def _class_name(classes: Sequence[Any], index: Any) -> str:
    if index is None or pd.isna(index):
        return "none"
    place = int(index)
    return f"{shortened(' '.join(str(classes[place]).split()), 40)}" if 0 <= place < len(classes) else f"class {place}"


def _strip(caption: str, tiles: Sequence[Tile]) -> Image.Image:
    """One case: its caption, then its tiles in rows."""
    deep = -(-len(tiles) // _ACROSS)
    cell = _TILE + 2 * _LINE + _GAP
    width = _ACROSS * (_TILE + _GAP) + _GAP
    strip = Image.new("RGB", (width, _LINE + _GAP + deep * cell), _GROUND)
    pen = ImageDraw.Draw(strip)
    pen.text((_GAP, 0), _fitting(caption, width - 2 * _GAP, 17), fill=_INK, font=_font(17))
    for place, (name, picture, beneath) in enumerate(tiles):
        down, right = divmod(place, _ACROSS)
        left, top = _GAP + right * (_TILE + _GAP), _LINE + _GAP + down * cell
        pen.text((left, top), _fitting(name, _TILE, 14), fill=_INK, font=_font(14))
        box = (left, top + _LINE, left + _TILE - 1, top + _LINE + _TILE - 1)
        if picture is None:
            pen.rectangle(box, fill=(235, 235, 235))
        else:
            strip.paste(picture, (left, top + _LINE))
        pen.text((left, top + _LINE + _TILE + 1), beneath, fill=_PALE, font=_font(14))
    return strip


def _fitting(text: str, width: int, size: int) -> str:
    """The text, shortened until it fits."""
    count = len(text)
    while count > 4 and _font(size).getlength(shortened(text, count)) > width:
        count -= 1
    return shortened(text, count)


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
