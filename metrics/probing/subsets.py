"""Random subsets of an image's features, removed: they read no map, so an image's answers serve all methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.drawing import source
from camfaith.metrics.probing.features import Cells, Features
from camfaith.metrics.probing.probes import ImageProbe, Rounds, Subject


@dataclass(frozen=True)
class Subsets(ImageProbe):
    """The image without `size` of its features: `subsets` random draws, or all that there are where these are no more.

    The draws depend on `seed`, on `size` and on the number of features alone. An image with fewer features than
    `features.most` loses the same share of them: at least one, and not the last of several.
    """

    size: int
    subsets: int
    baseline: Baseline
    features: Features = field(default_factory=Cells)
    seed: int = 0

    def count(self, pixels: int) -> int:
        return min(self.subsets, comb(self.features.most(pixels), self.size))

    def members(self, pixels: int, features: int | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Which features each subset holds (n×features, bool), for an image of so many pixels, which has so many
        features: the most, unless it is said."""
        most = self.features.most(pixels)
        count = most if features is None else features
        size = max(1, min(round(self.size * count / most), count - 1))
        return drawn(size, self.subsets, self.seed, count, torch.device(device))

    def rounds(self, subject: Subject) -> Rounds:
        labels = subject.once(self.features).flatten()
        stays = ~self.members(subject.case.pixels, int(labels.max()) + 1, labels.device)
        yield len(stays), subject.masked(self.baseline, lambda start, stop: stays[start:stop].index_select(1, labels))
        return None


@lru_cache(maxsize=64)
def drawn(size: int, subsets: int, seed: int, features: int, device: torch.device) -> Tensor:
    """Subsets of exactly `size` of the features (n×features, bool): random ones, or all where these are no more."""
    if comb(features, size) <= subsets:
        chosen = [torch.tensor(each) for each in combinations(range(features), size)]
    else:
        own = source(seed, size)
        chosen = [torch.randperm(features, generator=own)[:size] for _ in range(subsets)]
    members = torch.zeros(len(chosen), features, dtype=torch.bool)
    for row, some in zip(members, chosen, strict=True):
        row[some] = True
    return members.to(device)
