"""Which samples a network learns from, by which it is chosen, and by which it is judged: a file beside the network."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from camfaith.benchmark.datasets.sample import Dataset, Part
from camfaith.benchmark.datasets.subset import Subset, lot
from camfaith.benchmark.results.files import write_whole

PARTS: tuple[str, ...] = get_args(Part)
SHARES = (0.7, 0.15, 0.15)
COLUMNS = ("sample", "part", "cluster", "label")


def split(
    ids: Sequence[str],
    labels: Sequence[Hashable],
    clusters: Sequence[str | None] | None = None,
    *,
    seed: int = 0,
) -> list[str]:
    """The part of each sample, "train", "val" or "test": stratified by class, and whole by cluster.

    With n_c samples of class c, part p is due t_pc = share_p · n_c of them, and t_p of all. The clusters, the largest
    first, and equal ones in the order that `seed` and their ids draw, each join the part where they leave the smallest
    Σ_c (a_pc − t_pc)² / n_c + (a_p − t_p)² / n, a being what the part has by then. A sample without a cluster is one of
    its own. So a cluster that holds most of a class goes to train, and so does the only sample of one.
    """
    known = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    members: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for position, name in enumerate(ids):
        cluster = clusters[position] if clusters is not None else None
        members[(False, name) if cluster is None else (True, cluster)].append(position)
    counts = {key: _counts([known[labels[i]] for i in rows], len(known)) for key, rows in members.items()}
    total = np.sum(list(counts.values()), axis=0) if counts else np.ones(1)
    due = np.outer(SHARES, total)
    there = np.zeros_like(due)
    parts = [""] * len(ids)
    for key in sorted(members, key=lambda key: (-len(members[key]), lot("split", seed, *key))):
        worse = (((there + counts[key] - due) ** 2 - (there - due) ** 2) / total).sum(1)
        chosen = int(np.argmin(worse.round(9)))
        there[chosen] += counts[key]
        for position in members[key]:
            parts[position] = PARTS[chosen]
    return parts


def _counts(classes: Sequence[int], most: int) -> np.ndarray:
    """How many of each class, and of all."""
    return np.append(np.bincount(classes, minlength=most), len(classes)).astype(float)


def write_split(
    path: str | Path,
    ids: Sequence[str],
    parts: Sequence[str],
    clusters: Sequence[str | None],
    labels: Sequence[int],
) -> None:
    """Write a split as CSV, a row a sample: `sample`, `part`, `cluster` (empty where there is none), `label`."""
    table = pd.DataFrame({"sample": ids, "part": parts, "cluster": clusters, "label": labels}, columns=COLUMNS)
    write_whole(path, table.to_csv(index=False, lineterminator="\n"))


def read_split(path: str | Path) -> pd.DataFrame:
    """A split's table, its columns as texts, with the sample's id as index. The columns `sample` and `part` must be
    there: a split may be somebody's own.

    Raises `FileNotFoundError`, and `ValueError` for what is no split.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no split at {str(path)!r}: `camfaith finetune` writes one")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # no CSV, no UTF-8, nothing
        raise ValueError(f"{str(path)!r} is no CSV table: {error}") from None
    if lacking := {"sample", "part"} - {*table.columns}:
        found = ", ".join(map(str, table.columns))
        raise ValueError(f"no column {sorted(lacking)[0]!r} in the split {str(path)!r}, columns found: {found}")
    if strange := sorted({*table["part"]} - {*PARTS}):
        raise ValueError(f"the split {str(path)!r} has a part {strange[0]!r}; there are {', '.join(PARTS)}")
    if twice := list(table["sample"][table["sample"].duplicated()]):
        raise ValueError(f"the split {str(path)!r} has the sample {twice[0]!r} twice: remove one of its rows")
    return table.set_index("sample")


def part_of(dataset: Dataset, path: str | Path, part: str) -> Dataset:
    """The samples of `dataset` that are of that part of the split in a file.

    Warns of samples that the file does not name; they are in no part. Raises `ValueError` for a part that is none, that
    is empty, or where the file names a sample that the data set has not.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}; got {part!r}")
    placed: dict[Any, str] = read_split(path)["part"].to_dict()
    there = {name: position for position, name in enumerate(dataset.ids)}
    if gone := [name for name in placed if name not in there]:
        raise ValueError(
            f"{len(gone)} of {len(placed)} samples of the split {str(path)!r} are not in data set {dataset.name!r}, "
            f"first {gone[0]!r}: give the data set that was split, with the same settings"
        )
    if unnamed := [name for name in there if name not in placed]:
        warnings.warn(
            f"data set {dataset.name!r}: the split {str(path)!r} does not name {len(unnamed)} of {len(there)} samples, "
            f"first {unnamed[0]!r}: they are left out",
            stacklevel=2,
        )
    if not (positions := [there[name] for name, each in placed.items() if each == part]):
        raise ValueError(f"the split {str(path)!r} has no sample in part {part!r}")
    return Subset(dataset, sorted(positions))
