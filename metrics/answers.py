"""What the model says to a probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.probes import Probe


@dataclass(frozen=True)
class Answer:
    """The target's logit and log-probability on every altered image of a probe (B×n, float64).

    `at` (B×n) says where on the x axis they lie, for a probe that chose its points itself; an image with fewer points
    than others repeats its last. `maps` (B×n×h×w) are the method's own of them, for a probe that asks for these, and
    `failure` says why there are none.
    """

    logit: Tensor
    log_probability: Tensor
    at: Tensor | None = None
    maps: Tensor | None = None
    failure: str = "this probe asks for no maps"

    @property
    def explanations(self) -> Tensor:
        """The maps (B×n×h×w); `ValueError` where the method failed to make them."""
        if self.maps is None:
            raise ValueError(self.failure)
        return self.maps

    def of(self, score: str) -> Tensor:
        """The wanted score: `"probability"` or `"logit"`."""
        return self.log_probability.exp() if score == "probability" else self.logit

    def select(self, rows: Sequence[int] | None) -> Answer:
        """The same for some of the images; None for all."""
        if rows is None:
            return self
        at = list(rows)
        return Answer(self.logit[at], self.log_probability[at])


Answers = Mapping[Probe, Answer]


def stacked(tables: Iterable[Tensor], places: Sequence[Tensor] = ()) -> Answer:
    """One answer from each image's table (n×2: logit and log-probability), and its places on the x axis if it has any;
    an image with fewer rows than others repeats its last."""
    every = list(tables)
    longest = max((len(table) for table in every), default=0)
    found = torch.stack([_padded(table, longest) for table in every])
    at = torch.stack([_padded(place, longest) for place in places]) if places else None
    return Answer(found[..., 0], found[..., 1], at)


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(length - len(rows), *rows.shape[1:])])
