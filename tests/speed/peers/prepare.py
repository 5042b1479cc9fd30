"""Writes the work of the comparison into a folder: pictures, labels, weights, and the maps that all are asked about.

The maps are camfaith's, at the images' size, rectified and in [0, 1]: every side judges the same ones.
"""

from __future__ import annotations

import csv
import shutil
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from work import CROP, LAYER, MEAN, METHODS, RESIZE, STD

from camfaith.benchmark.datasets import find as find_dataset
from camfaith.methods import find as find_method
from camfaith.models import Classifier, load, maps


def copy_photographs(source: Path, folder: Path, images: int) -> None:
    """The first photographs of FOLDER/imagenet and the weights beside them."""
    with (source / "imagenet" / "labels.csv").open(encoding="utf-8") as table:
        rows = [(row["file"], row["label"]) for row, _ in zip(csv.DictReader(table), range(images), strict=False)]
    for file, _ in rows:
        shutil.copyfile(source / "imagenet" / "images" / file, folder / "pictures" / file)
    shutil.copyfile(source / "imagenet" / "squeezenet1_0.safetensors", folder / "weights.safetensors")
    write_labels(folder, rows)


def draw_photographs(folder: Path, images: int) -> None:
    """Synthetic fundus photographs and an untrained network, for whoever has no data."""
    dataset = find_dataset("fundus")(samples=images, size=RESIZE)
    rows = []
    for index in range(images):
        dataset[index].image.save(folder / "pictures" / f"{index:04d}.png")
        rows.append((f"{index:04d}.png", str(dataset.labels[index])))
    network = load("squeezenet1_0", weights="none").network
    save_file(network.state_dict(), folder / "weights.safetensors")
    write_labels(folder, rows)


def write_labels(folder: Path, rows: list[tuple[str, str]]) -> None:
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([("file", "label"), *rows])


def classifier_of(folder: Path) -> Classifier:
    """The network of the folder, as camfaith takes it."""
    return load(
        "squeezenet1_0",
        weights=folder / "weights.safetensors",
        mean=MEAN,
        std=STD,
        resize=RESIZE,
        crop=CROP,
        layer=LAYER,
    )


def pictures_of(folder: Path, classifier: Classifier) -> torch.Tensor:
    """The pictures in [0, 1], as camfaith prepares them."""
    files = [row.split(",")[0] for row in (folder / "labels.csv").read_text("utf-8").splitlines()[1:]]
    return torch.stack([classifier.prepare(Image.open(folder / "pictures" / file)) for file in files])


def write_maps(folder: Path) -> None:
    classifier = classifier_of(folder)
    evidence = classifier.evidence(pictures_of(folder, classifier), None, [LAYER])
    found = {}
    for name in METHODS:
        raw = find_method(name)(classifier).explain(evidence, classifier)
        found[name] = maps.normalise(maps.upsample(maps.rectify(raw), (CROP, CROP))).numpy()
    np.savez(folder / "maps.npz", targets=evidence.targets.numpy(), **found)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="holds imagenet/images, imagenet/labels.csv and the weights")
    parser.add_argument("--images", type=int, default=8)
    given = parser.parse_args()
    (given.folder / "pictures").mkdir(parents=True)
    if given.data is None:
        draw_photographs(given.folder, given.images)
    else:
        copy_photographs(given.data, given.folder, given.images)
    write_maps(given.folder)
