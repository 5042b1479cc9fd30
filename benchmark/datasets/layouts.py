"""Generated photographs in the folders of public data sets, for trying what needs these.

python -m camfaith.benchmark.datasets.layouts aptos2019 FOLDER --samples 400 --size 128
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from camfaith.benchmark.datasets.fundus import photograph
from camfaith.benchmark.datasets.ham10000 import IMAGES, KINDS, MASKS
from camfaith.benchmark.datasets.pictures import mask_of
from camfaith.benchmark.datasets.skin import kind_of, lesion_of, skin_photograph

Layout = StrEnum("Layout", ["aptos2019", "ham10000"])
Split = StrEnum("Split", ["train", "val", "test"])


def write_aptos2019(root: Path, samples: int, *, size: int = 128, seed: int = 0, split: str = "train") -> None:
    """Synthetic fundus photographs of that height, black at the sides, as `aptos2019` reads them, with lesion masks."""
    rows = []
    for index in range(samples):
        photo = photograph(index, seed=seed, split=split, size=size)
        name = _name("aptos2019", split, seed, index)[:12]
        rows.append((name, photo.grade))
        _save(Image.fromarray(_widened(photo.pixels)), root / "train_images" / f"{name}.png")
        _save(mask_of(_widened(photo.lesions)), root / "lesion_masks" / f"{name}.png")
    _write_table(root / "train.csv", ("id_code", "diagnosis"), rows)


def write_ham10000(root: Path, samples: int, *, size: int = 128, seed: int = 0, split: str = "train") -> None:
    """Synthetic dermoscopic photographs as `ham10000` reads them, with masks."""
    start = int(_name("ham10000", split, seed, 0), 16) % 9_000_000
    rows = []
    for index in range(samples):
        photo = skin_photograph(index, seed=seed, split=split, size=size)
        name, lesion = f"ISIC_{start + index:07d}", f"HAM_{start + lesion_of(index):07d}"
        rows.append((lesion, name, KINDS[kind_of(index)], "generated", "", "unknown", "unknown"))
        _save(Image.fromarray(photo.pixels), root / IMAGES[2 * index // samples] / f"{name}.jpg")
        _save(mask_of(photo.mask), root / MASKS / f"{name}_segmentation.png")
    _write_table(
        root / "HAM10000_metadata.csv", ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"), rows
    )


def _name(*about: object) -> str:
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _widened(pixels: NDArray[Any]) -> NDArray[Any]:
    """Black at both sides, to the shape 3:2."""
    side = len(pixels) // 4
    return np.pad(pixels, ((0, 0), (side, side), *[(0, 0)] * (pixels.ndim - 2)))


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)  # of a JPEG; PNG has none


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def main(
    layout: Layout,
    folder: Path,
    samples: Annotated[int, typer.Option(min=1)] = 400,
    size: Annotated[int, typer.Option(min=32)] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    split: Split = Split["train"],
) -> None:
    """Write so many generated photographs of that height into a new folder, as the public data set lies on disk."""
    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{str(folder)!r} is there and not empty: name a new folder")
    write = {Layout["aptos2019"]: write_aptos2019, Layout["ham10000"]: write_ham10000}[layout]
    write(folder, samples, size=size, seed=seed, split=split.value)


if __name__ == "__main__":
    typer.run(main)
