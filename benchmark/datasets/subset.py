"""The order in which a run takes the samples of a data set, and how many of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from camfaith.benchmark.datasets.sample import Dataset, Label, Sample


class Subset:
    """The samples of `dataset` at `positions`, in that order."""

    def __init__(self, dataset: Dataset, positions: Sequence[int]) -> None:
        self._dataset = dataset
        self._positions = positions
        self.name = dataset.name
        self.ids: Sequence[str] = [dataset.ids[i] for i in positions]
        self.class_names: Sequence[str] | None = dataset.class_names
        labels = known_labels(dataset)
        self.labels: Sequence[Label] = [labels[i] for i in positions]
        clusters = known_clusters(dataset)
        self.clusters: Sequence[str | None] = [clusters[i] for i in positions]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> Sample:
        return self._dataset[self._positions[index]]


def subset(dataset: Dataset, limit: int | None = None, seed: int = 0, *, by_class: bool = True) -> Dataset:
    """The first `limit` samples of `dataset` in the order that `seed` gives them; all of them where it is None.

    A larger limit begins with the samples of a smaller one. Each sample draws its place from `seed` and its id: the
    order of the files does not matter, and a sample that is added pushes at most one out of a subset.

    `by_class`: the classes take turns, where labels are known without reading. Every beginning of the order holds
    equally many of each class, give or take one, as long as a class lasts; samples without a label come last. Without
    `by_class`, and where no label is known, every beginning is a random draw from all samples.

    Raises `ValueError` where `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}: give None for all samples")
    drawn = sorted(range(len(dataset)), key=lambda position: lot("order", seed, dataset.ids[position]))
    return Subset(dataset, (_in_turns(drawn, known_labels(dataset)) if by_class else drawn)[:limit])


def lot(*about: object) -> bytes:
    """A draw by which things are ordered; it depends on nothing but what it is `about`."""
    return hashlib.sha256(":".join(map(str, about)).encode("utf-8", "backslashreplace")).digest()


def _in_turns(drawn: Sequence[int], labels: Sequence[Label]) -> list[int]:
    """The first of each class, then the second of each, and so on, each round in the order drawn; unlabelled last."""
    rounds: Counter[Label] = Counter()
    turn = {}
    for position in drawn:
        label = labels[position]
        turn[position] = (label is None, rounds[label])
        rounds[label] += 1
    return sorted(drawn, key=turn.__getitem__)


def known_labels(dataset: Dataset) -> Sequence[Label]:
    """The label of each sample, where `dataset.labels` gives them without reading; else None for each."""
    return _known(dataset, "labels")


def known_clusters(dataset: Dataset) -> Sequence[str | None]:
    """The cluster of each sample, where `dataset.clusters` gives them without reading; else None for each."""
    return _known(dataset, "clusters")


def _known(dataset: Dataset, what: str) -> Sequence[Any]:
    found: Sequence[Any] | None = getattr(dataset, what, None)
    if found is None:
        return [None] * len(dataset)
    if len(found) != len(dataset):
        raise ValueError(f"data set {dataset.name!r} has {len(dataset)} samples but {len(found)} {what}")
    return found
