"""Pictures with every method's map over them, for the images that came out best and worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from camfaith.benchmark.results.files import own_folder, whole
from camfaith.benchmark.results.pictures import opened
from camfaith.benchmark.results.store import map_of
from camfaith.models.display import heatmap, is_of_pixels, overlay
from camfaith.reports.view import Block, Judged, View, file_stem, number, shortened

EACH = 3
"""Images at either end."""
_TILE, _GAP, _LINE, _ACROSS = 160, 10, 20, 10
_INK, _PALE, _GROUND = (25, 25, 25), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Exhibit:
    """One image of the gallery, and the mean score that put it at its end."""

    sample: str
    best: bool
    score: float


@dataclass(frozen=True)
class Wall:
    """The gallery of one block: the picture's path, and the column that chose the images."""

    block: Block
    path: Path
    column: Judged
    exhibits: Sequence[Exhibit]


def hang(view: View, folder: Path) -> list[Wall]:
    """Draw the gallery of every block that has maps and pictures; returns what was drawn."""
    column = judge_of(view)
    if column is None:
        return []
    chosen = {block: choose(view, block, column) for block in view.blocks}
    samples = {exhibit.sample for exhibits in chosen.values() for exhibit in exhibits}
    pictures, maps = view.picked("pictures", samples), view.picked("maps", samples)
    walls = []
    for block, exhibits in chosen.items():
        own, over = view.of(block, pictures[pictures["image"].notna()]), view.of(block, maps)
        shown = [exhibit for exhibit in exhibits if exhibit.sample in set(own["sample"])]
        if not shown or not len(over):
            continue
        path = own_folder(folder) / f"{file_stem(*block)}.png"
        with whole(path) as draft:
            _wall(view, block, column, shown, own, over).save(draft, "PNG", compress_level=4)
        walls.append(Wall(block, path, column, shown))
    return walls


def judge_of(view: View) -> Judged | None:
    """The column that says which images came out well: insertion's, else the first that has a direction, else the
    first that describes."""
    insertion = view.metrics_named("insertion")
    return next(iter([*(c for c in view.ranked if c.metric in insertion), *view.ranked, *view.judged]), None)


def choose(view: View, block: Block, column: Judged, each: int = EACH) -> list[Exhibit]:
    """The best and the worst images by the column's mean over all methods but the controls, best first; the highest
    and the lowest where it has no direction."""
    rows = view.of(block, view.scores)
    rows = rows[(rows["metric"] == column.metric) & (rows["column"] == column.column)]
    rows = rows[~rows["method"].isin(view.controls) & np.isfinite(rows["value"].astype(float))]
    means = rows.groupby("sample")["value"].mean().sort_index()
    means = means.sort_values(ascending=column.better == "lower", kind="stable")
    found = [(str(sample), float(mean)) for sample, mean in means.items()]
    best = found[: min(each, (len(found) + 1) // 2)]
    worst = found[len(best) :][-each:]
    return [*(Exhibit(s, True, v) for s, v in best), *(Exhibit(s, False, v) for s, v in worst)]


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
    view: View, block: Block, column: Judged, exhibits: Sequence[Exhibit], pictures: pd.DataFrame, maps: pd.DataFrame
) -> Image.Image:
    values = view.of(block, view.scores)
    values = values[(values["metric"] == column.metric) & (values["column"] == column.column)]
    methods = [m for m in view.methods if m in set(maps["method"])]
    of_pixels = {m["label"]: m.get("of_pixels") for m in view.info.get("methods", ())}
    strips = []
    for exhibit in exhibits:
        row = pictures[pictures["sample"] == exhibit.sample].iloc[-1]
        raw = {r["method"]: map_of(r) for r in maps[maps["sample"] == exhibit.sample].to_dict("records")}
        per_method = values[values["sample"] == exhibit.sample].set_index("method")["value"].to_dict()
        tiles = _tiles(row, methods, raw, per_method, of_pixels)
        strips.append(_strip(_caption(view, block, column, exhibit, row), tiles))
    height = sum(strip.height for strip in strips) + 2 * _GAP * len(strips)
    wall = Image.new("RGB", (max(strip.width for strip in strips), height), _GROUND)
    top = _GAP
    for strip in strips:
        wall.paste(strip, (0, top))
        top += strip.height + 2 * _GAP
    return wall


Tile = tuple[str, Image.Image | None, str]
"""Its name, its picture and the line beneath."""


def _tiles(
    row: Any,
    methods: Sequence[str],
    maps: Mapping[str, NDArray[np.float32]],
    values: Mapping[Any, float],
    of_pixels: Mapping[str, bool | None],
) -> list[Tile]:
    """The tiles of one image: the image, its mask where it has one, and every method's map."""
    picture = opened(row["image"]).convert("RGB")
    tiles: list[Tile] = [("image", _sized(picture), "")]
    if isinstance(row["mask"], bytes):
        mask = opened(row["mask"])
        tiles.append(("mask", outlined(_sized(picture), _sized(mask)), "" if mask.getbbox() else "empty"))
    for method in methods:
        if method not in maps:
            tiles.append((method, None, "no map"))
            continue
        shown = heatmap(maps[method], (picture.height, picture.width))
        flat = " (constant)" if shown.min() == shown.max() else ""
        drawn = overlay(picture, shown, of_pixels=is_of_pixels(of_pixels.get(method), maps[method], picture))
        tiles.append((method, _sized(drawn), number(values.get(method, float("nan"))) + flat))
    return tiles


def _sized(picture: Image.Image) -> Image.Image:
    """The picture in a tile's square, its proportions kept."""
    scale = _TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC if picture.mode == "RGB" else Image.Resampling.NEAREST)


def _caption(view: View, block: Block, column: Judged, exhibit: Exhibit, row: Any) -> str:
    model: Mapping[str, Any] = next((m for m in view.info.get("models", ()) if m.get("name") == block.model), {})
    classes = model.get("classes") or []
    truth, target = (_class_name(classes, row[key]) for key in ("label", "target"))
    explained = f"explained: {target}{' (predicted)' if view.target == 'predicted' else ''}"
    title = f"{column.ends[not exhibit.best]}: {shortened(' '.join(exhibit.sample.split()), 60)}"
    return f"{title}   ·   label: {truth}   ·   {explained}   ·   mean {column.title} {number(exhibit.score)}"


def _class_name(classes: Sequence[Any], index: Any) -> str:
    if index is None or pd.isna(index):
        return "none"
    place = int(index)
    return f"{shortened(' '.join(str(classes[place]).split()), 40)}" if 0 <= place < len(classes) else f"class {place}"


def _strip(caption: str, tiles: Sequence[Tile]) -> Image.Image:
    """One image: its caption, then its tiles in rows."""
    deep = -(-len(tiles) // _ACROSS)
    pitch = _TILE + 2 * _LINE + _GAP
    width = _ACROSS * (_TILE + _GAP) + _GAP
    strip = Image.new("RGB", (width, _LINE + _GAP + deep * pitch), _GROUND)
    pen = ImageDraw.Draw(strip)
    pen.text((_GAP, 0), _fitting(caption, width - 2 * _GAP, 17), fill=_INK, font=_font(17))
    for place, (name, picture, beneath) in enumerate(tiles):
        down, right = divmod(place, _ACROSS)
        left, top = _GAP + right * (_TILE + _GAP), _LINE + _GAP + down * pitch
        pen.text((left, top), _fitting(name, _TILE, 14), fill=_INK, font=_font(14))
        box = (left, top + _LINE, left + _TILE - 1, top + _LINE + _TILE - 1)
        if picture is None:
            pen.rectangle(box, fill=(235, 235, 235))
        else:
            strip.paste(picture, (left, top + _LINE))
        pen.text((left, top + _LINE + _TILE + 1), beneath, fill=_PALE, font=_font(14))
    return strip


def _fitting(text: str, width: int, size: int) -> str:
    """The text, shortened until it fits into `width` pixels."""
    count = len(text)
    while count > 4 and _font(size).getlength(shortened(text, count)) > width:
        count -= 1
    return shortened(text, count)


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
