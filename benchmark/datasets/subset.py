"""A few samples of a data set, chosen the same way every time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from camfaith.benchmark.datasets.sample import Dataset, Sample


class Subset:
    """The samples of `dataset` at `positions`, in that order."""

    def __init__(self, dataset: Dataset, positions: Sequence[int]) -> None:
        self._dataset = dataset
        self._positions = positions
        self.name = dataset.name
        self.ids: Sequence[str] = [dataset.ids[i] for i in positions]
        self.class_names: Sequence[str] | None = dataset.class_names
        labels = known_labels(dataset)
        self.labels: Sequence[int | None] = [labels[i] for i in positions]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> Sample:
        return self._dataset[self._positions[index]]


def subset(dataset: Dataset, limit: int | None, seed: int = 0) -> Dataset:
    """`limit` samples of `dataset`, in its order; the data set itself where it has no more, or where `limit` is None.

    Where labels are known without reading, the classes get equal shares as far as they last, and samples without a
    label come in when the others are used up; otherwise the samples are evenly spaced. `seed` says which samples of a
    class are taken and which classes get one more.

    Raises `ValueError` where `limit` is below 1.
    """
    if limit is None:
        return dataset
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}: give None for all samples")
    if limit >= len(dataset):
        return dataset
    chance = random.Random(seed)  # noqa: S311  no secret; the same on every version of Python
    groups: dict[int | None, list[int]] = {}
    for position, label in enumerate(known_labels(dataset)):
        groups.setdefault(label, []).append(position)
    unlabelled = groups.pop(None, [])
    shares = _shares([len(group) for group in groups.values()], limit, chance)
    chosen = [i for group, share in zip(groups.values(), shares, strict=True) for i in _spaced(group, share, chance)]
    chosen += _spaced(unlabelled, limit - len(chosen), chance)
    return Subset(dataset, sorted(chosen))


def shuffled(dataset: Dataset, seed: int = 0) -> Dataset:
    """All samples of `dataset`, in a random order drawn from `seed`: the first so many are a fair draw of all."""
    positions = list(range(len(dataset)))
    random.Random(seed).shuffle(positions)  # noqa: S311  no secret
    return Subset(dataset, positions)


def known_labels(dataset: Dataset) -> Sequence[int | None]:
    """One label a sample, where `dataset.labels` gives them without reading; else None for each."""
    labels: Sequence[int | None] | None = getattr(dataset, "labels", None)
    if labels is None:
        return [None] * len(dataset)
    if len(labels) != len(dataset):
        raise ValueError(f"data set {dataset.name!r} has {len(dataset)} samples but {len(labels)} labels")
    return labels


def _shares(sizes: Sequence[int], limit: int, chance: random.Random) -> list[int]:
    """How many to take of groups of these sizes: equally many as far as they last, `limit` in all if there are."""
    shares = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda _: chance.random())
    left = min(limit, sum(sizes))
    while left:
        for group in order:
            if left and shares[group] < sizes[group]:
                shares[group] += 1
                left -= 1
    return shares


def _spaced(positions: Sequence[int], count: int, chance: random.Random) -> list[int]:
    """`count` of the positions, evenly spaced, starting at a random place within the first step."""
    start = int(chance.random() * len(positions))
    return [positions[(i * len(positions) + start) // count] for i in range(count)]
