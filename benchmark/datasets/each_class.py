"""Samples that are explained for several classes each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from camfaith.benchmark.datasets.sample import Dataset, Label, Sample
from camfaith.benchmark.datasets.subset import known_clusters, known_labels


class EachClass:
    """Each sample of `dataset` once for every class that it is to be explained for.

    `asked` are names or indices: all of them, or, for a sample whose several labels are known, those that it has.
    Without `asked` they are the sample's labels. The ids are "id#class", and what is of one sample is one cluster.
    """

    def __init__(self, dataset: Dataset, asked: Sequence[str | int] | None = None) -> None:
        self._dataset = dataset
        self.name, self.class_names = dataset.name, dataset.class_names
        names = list(dataset.class_names or ())
        self._rows: list[tuple[int, str | int | None, int | None]] = []
        for position, label in enumerate(known_labels(dataset)):
            for target in self._own(label) if asked is None else asked:
                index = names.index(target) if target in names else target
                if not isinstance(label, tuple):
                    self._rows.append((position, target if asked else None, label))
                elif index in label:
                    self._rows.append((position, target if asked else None, int(index)))
        self.without = len(dataset) - len({position for position, _, _ in self._rows})
        """How many samples show none of these classes."""
        self.labels: Sequence[Label] = [label for _, _, label in self._rows]
        self.ids: Sequence[str] = [self._id(*row) for row in self._rows]
        clusters = known_clusters(dataset)
        self.clusters: Sequence[str | None] = [clusters[row[0]] or dataset.ids[row[0]] for row in self._rows]

    @staticmethod
    def _own(label: Label) -> Sequence[int | None]:
        return label if isinstance(label, tuple) else (label,)

    def _id(self, position: int, target: str | int | None, label: int | None) -> str:
        name = label if target is None else target
        if isinstance(name, int) and self.class_names is not None and 0 <= name < len(self.class_names):
            name = self.class_names[name]
        return self._dataset.ids[position] if name is None else f"{self._dataset.ids[position]}#{name}"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Sample:
        position, target, label = self._rows[index]
        sample = self._dataset[position]
        own = label if isinstance(sample.label, tuple) or target is None else sample.label
        mask = sample.mask if label is None else sample.masks.get(label, sample.mask)
        cluster = sample.cluster or self._dataset.ids[position]
        return replace(sample, id=self.ids[index], label=own, mask=mask, target=target, cluster=cluster)


def per_class(dataset: Dataset, target: object) -> Dataset:
    """`dataset`, each sample once for every class that a suite's `target` names, where it names several.

    Warns of samples that show none of them; `ValueError` where all are such.
    """
    if isinstance(target, tuple):
        found = EachClass(dataset, target)
    elif target == "label" and any(isinstance(label, tuple) for label in known_labels(dataset)):
        found = EachClass(dataset)
    else:
        return dataset
    if without := found.without:
        text = f"data set {dataset.name!r}: {without} of {len(dataset)} samples show none of the classes to explain"
        if without == len(dataset):
            raise ValueError(text)
        warnings.warn(f"{text}: they are left out", stacklevel=2)
    return found
