"""The pictures of a data set that metrics may compare an image with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from camfaith.benchmark.datasets import Dataset, subset
from camfaith.benchmark.suite.declaration import DatasetEntry, General, digest
from camfaith.benchmark.suite.opening import whole_dataset
from camfaith.metrics.probing.pool import Pool
from camfaith.models import Classifier


class PoolOf:
    """Makes a `Pool` of a data set's first pictures, whatever the suite's limit, as `classifier()` prepares them.

    Nothing is read before a pool's pictures are asked for; until then it is known by the ids of its samples.
    """

    def __init__(self, entry: DatasetEntry, general: General, classifier: Callable[[], Classifier]) -> None:
        self._entry, self._general, self._classifier = entry, general, classifier
        self._pools: dict[int, Pool] = {}

    @cached_property
    def _samples(self) -> Dataset:
        whole, general = whole_dataset(self._entry), self._general
        return subset(whole, seed=general.seed, by_class=general.until != "separated")

    def __call__(self, pictures: int) -> Pool:
        """The pool of so many pictures, or of all where there are fewer; the same each time."""
        if pictures not in self._pools:
            ids = list(self._samples.ids[:pictures])
            self._pools[pictures] = Pool(len(ids), digest([self._entry.name, ids]), lambda: self._read(len(ids)))
        return self._pools[pictures]

    def _read(self, pictures: int) -> list[Tensor]:
        """So many pictures, or all that can be read: one that cannot is left out, and the next takes its place."""
        found: list[Tensor] = []
        for index, name in enumerate(self._samples.ids):
            try:
                found.append(self._classifier().prepare(self._samples[index].image))
            except Exception as error:  # whatever a data set raises
                warnings.warn(f"sample {name!r} cannot stand in the pool of pictures: {error}", stacklevel=2)
            if len(found) == pictures:
                break
        return found
