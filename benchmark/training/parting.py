"""Which pictures are in which part: as the file of their split says, which is written where it is not there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import ArrayLike, NDArray

from camfaith.benchmark.datasets.split import PARTS, read_split, split, write_split
from camfaith.benchmark.results.files import own_folder
from camfaith.benchmark.training.pictures import Pictures

Rows = NDArray[np.int64]


def parts_of(pictures: Pictures, file: Path, class_names: Sequence[str], seed: int) -> Mapping[str, Rows]:
    """The rows of the pictures in each part: as `file` says, which is written by `split` where it is not there.

    Warns of classes that a part lacks, pictures that the file does not name (they are in no part), and clusters in
    several parts. Raises `ValueError` where the file names what is not among the pictures, or with another label or
    cluster, and where nothing can be learned: no picture in train or val, or one class alone in train.
    """
    if not file.exists():
        with FileLock(own_folder(file.parent) / f".{file.name}.lock"):  # networks that begin at once share one split
            if not file.exists():
                _make(file, pictures, seed)
    placed = read_split(file)
    _require_same(placed, pictures, file)
    part = placed["part"].reindex(list(pictures.ids)).to_list()
    if unnamed := [name for name, each in zip(pictures.ids, part, strict=True) if each not in PARTS]:
        text = f"{file} does not name {len(unnamed)} of {len(part)} pictures, first {unnamed[0]!r}: they are left out"
        warnings.warn(f"{text}; remove the file to split anew", stacklevel=2)
    rows = _rows(part)
    _require_learnable(rows, pictures, str(file))
    _tell_lacking(rows, pictures, class_names, file)
    return rows


def _make(file: Path, pictures: Pictures, seed: int) -> None:
    """A split of the pictures, in the file; none where it teaches nothing."""
    labels = pictures.labels.tolist()
    parts = split(pictures.ids, labels, pictures.clusters, seed=seed)
    _require_learnable(_rows(parts), pictures, f"a split of {len(parts)} pictures")
    write_split(file, pictures.ids, parts, pictures.clusters, labels)


def _rows(parts: ArrayLike) -> dict[str, Rows]:
    return {name: np.flatnonzero(np.asarray(parts) == name) for name in PARTS}


def _require_same(placed: pd.DataFrame, pictures: Pictures, file: Path) -> None:
    """`ValueError` where the file is of other pictures."""
    known = pd.DataFrame(
        {"label": [str(label) for label in pictures.labels], "cluster": [c or "" for c in pictures.clusters]},
        index=list(pictures.ids),
    )
    if gone := [name for name in placed.index if name not in known.index]:
        raise ValueError(
            f"{file} names {len(gone)} samples that are not there or cannot be read, first {gone[0]!r}: restore them, "
            "or remove the file, and start in a folder of its own"
        )
    for column in known.columns.intersection(placed.columns, sort=False):
        other = placed.index[placed[column] != known.loc[placed.index, column]]
        if len(other):
            was, now = placed[column][other[0]], known[column][other[0]]
            raise ValueError(
                f"{file}: {len(other)} samples have another {column} by now, first {other[0]!r} ({was!r} in the file, "
                f"{now!r} in the data): remove the file, and start in a folder of its own"
            )


def _require_learnable(rows: Mapping[str, Rows], pictures: Pictures, what: str) -> None:
    for name in ("train", "val"):
        if not len(rows[name]):
            raise ValueError(f"{what} has no picture in part {name!r}: a network needs some there to learn")
    if len({*pictures.labels[rows["train"]].tolist()}) < 2:
        raise ValueError(f"{what} has one class alone in train; a network learns to tell two or more apart")


def _tell_lacking(rows: Mapping[str, Rows], pictures: Pictures, class_names: Sequence[str], file: Path) -> None:
    held = {name: {*pictures.labels[each].tolist()} for name, each in rows.items()}
    for name, labels in held.items():
        if lacking := [text for label, text in enumerate(class_names) if label not in labels]:
            warnings.warn(f"no picture of {', '.join(map(repr, lacking))} in part {name!r} ({file})", stacklevel=3)
    where: dict[str, set[str]] = {}
    for name, each in rows.items():
        for row in each:
            if (cluster := pictures.clusters[row]) is not None:
                where.setdefault(cluster, set()).add(name)
    if torn := [cluster for cluster, parts in where.items() if len(parts) > 1]:
        text = f"{len(torn)} clusters of {file} lie in several parts, first {torn[0]!r}"
        warnings.warn(f"{text}: what the network does on val and test looks better than it is", stacklevel=3)
