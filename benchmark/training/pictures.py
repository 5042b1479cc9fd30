"""The pictures of a data set at a network's size, read once: files below the network's folder hold them."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camfaith.benchmark.datasets import Dataset, SampleError
from camfaith.benchmark.datasets.sample import Label
from camfaith.benchmark.results.files import own_folder, whole, write_whole
from camfaith.models import Classifier
from camfaith.models.errors import in_one_line

_PIXELS, _KNOWN = "pixels.npy", "known.json"
_TOGETHER = 64


@dataclass(frozen=True)
class Pictures:
    """Pictures as a network gets them, in 8 bits, and what is known of each. `pixels` (N×C×H×W) stays on the disk."""

    pixels: NDArray[np.uint8]
    ids: Sequence[str]
    labels: NDArray[np.int64]
    clusters: Sequence[str | None]

    def digest(self) -> str:
        """A hash of all that is here."""
        found = hashlib.sha256(json.dumps([*self.ids, *self.labels.tolist(), *self.clusters]).encode())
        for picture in self.pixels:
            found.update(picture.tobytes())
        return found.hexdigest()


def read_pictures(dataset: Dataset, classifier: Classifier, folder: Path, told: Callable[[int, int], None]) -> Pictures:
    """The data set's pictures, prepared as `classifier` has it; out of `folder` where they were read before.

    Warns of samples that cannot be read, or that have no class or several: they are left out. Raises `ValueError` where
    none is left.
    """
    about = [list(dataset.ids), list(dataset.class_names or ()), repr(classifier.geometry), classifier.colours]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    known = json.loads((folder / _KNOWN).read_text()) if (folder / _KNOWN).is_file() else {}
    if known.get("key") != key:
        known = {"key": key, **_read(dataset, classifier, own_folder(folder), told)}
        write_whole(folder / _KNOWN, json.dumps(known))
    if left := known["left_out"]:
        text = f"data set {dataset.name!r}: {len(left)} of {len(dataset)} samples are left out, the first: {left[0]}"
        if not known["ids"]:
            forget_pictures(folder)  # so that what is restored is read
            raise ValueError(text)
        warnings.warn(text, stacklevel=2)
    pixels = np.load(folder / _PIXELS, mmap_mode="r")[: len(known["ids"])]
    return Pictures(pixels, known["ids"], np.array(known["labels"]), known["clusters"])


def forget_pictures(folder: Path) -> None:
    """Remove what `read_pictures` has written."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(
    dataset: Dataset, classifier: Classifier, folder: Path, told: Callable[[int, int], None]
) -> dict[str, list[Any]]:
    """Write the pixels; what else there is to know of the samples that can be used, and why the others cannot."""
    found: dict[str, list[Any]] = {"ids": [], "labels": [], "clusters": [], "left_out": []}
    take = partial(_taken, dataset, classifier)
    # Written, and not mapped: on a full disk that is an error, and not the end of the process.
    with whole(folder / _PIXELS) as draft, draft.open("wb") as stream, ThreadPoolExecutor(2) as pool:
        size = 0
        for start in range(0, len(dataset), _TOGETHER):
            indices = range(start, min(start + _TOGETHER, len(dataset)))
            for index, taken in zip(indices, pool.map(take, indices), strict=True):
                if isinstance(taken, str):
                    found["left_out"].append(taken)
                    continue
                picture, label, cluster = taken
                if not size:
                    shape = (len(dataset), *picture.shape)
                    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, about)
                    size = stream.tell() + math.prod(shape)
                stream.write(picture.tobytes())
                for name, value in (("ids", dataset.ids[index]), ("labels", label), ("clusters", cluster)):
                    found[name].append(value)
            told(indices.stop, len(dataset))
        stream.truncate(size)  # as many as there are samples, whatever was left out
    return found


def _taken(dataset: Dataset, classifier: Classifier, index: int) -> tuple[NDArray[np.uint8], int, str | None] | str:
    """One sample's picture, class and cluster; or why it cannot be used."""
    try:
        sample = dataset[index]
        label = _single(sample.label, len(dataset.class_names or ()))
        picture = classifier.prepare(sample.image)
    except Exception as error:  # whatever a data set raises costs its own sample
        return f"{dataset.ids[index]}: {in_one_line(error)}"
    return (picture * 255).round().byte().numpy(), label, sample.cluster


def _single(label: Label, classes: int) -> int:
    several = label if isinstance(label, tuple) else () if label is None else (label,)
    if len(several) != 1:
        raise SampleError(f"it has {len(several) or 'no'} classes; a network learns from pictures of one class each")
    if several[0] < 0 or (classes and several[0] >= classes):
        raise SampleError(f"label {several[0]} is none of the {classes} classes")
    return int(several[0])
