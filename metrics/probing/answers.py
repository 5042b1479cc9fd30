"""What the model says to a probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from camfaith.metrics.probing.case import score_of
from camfaith.metrics.probing.copies import own_copy
from camfaith.metrics.probing.probes import Probe
from camfaith.models.heads import Head


@dataclass(frozen=True)
class Answer:
    """The target's logit and log-probability on every altered image of a probe (B×n, float64).

    `logits` (B×n×C, float64) are those of all classes, for a probe that wants them. `at` (B×n) is where the images lie
    on the x axis, for a probe that chose its points; an image with fewer points than others repeats its last. `maps`
    (B×n×h×w) are the method's maps of them, for a probe that asks for maps: NaN for an image on which the method
    failed. `failures` says why, by the image's place.

    How far the altered images are from what the network knows: `confidence` (B×n) is the greatest probability that it
    gives a class, NaN where its head gives none, and `distance` (B×n) how far its features of them, the input of its
    last linear layer, are from those of the image itself: ‖φ' − φ‖ / ‖φ‖, NaN where it has no such layer.
    """

    logit: Tensor
    log_probability: Tensor
    confidence: Tensor
    distance: Tensor
    at: Tensor | None = None
    maps: Tensor | None = None
    failures: Mapping[int, str] = field(default_factory=dict)
    logits: Tensor | None = None

    @property
    def explanations(self) -> Tensor:
        """The maps (B×n×h×w); `ValueError` where there is none at all."""
        if self.maps is None:
            raise ValueError(next(iter(self.failures.values()), "a probe that wants maps derives from Explained"))
        return self.maps

    def of(self, score: str) -> Tensor:
        """The target's `"probability"` or `"logit"` (B×n); `ValueError` for another score."""
        return score_of(score, self.logit, self.log_probability)

    @property
    def tables(self) -> Tensor:
        """What `stacked` makes an answer of: B×n×4, or B×n×(4 + C) with all logits."""
        scores = torch.stack([self.logit, self.log_probability], 2)
        drift = torch.stack([self.confidence, self.distance], 2)
        return torch.cat([scores, drift] if self.logits is None else [scores, self.logits, drift], 2)

    def select(self, rows: Sequence[int] | None) -> Answer:
        """The same for some of the images; None for all."""
        if rows is None:
            return self
        at, held = list(rows), {each.name: getattr(self, each.name) for each in fields(self)}
        some = {name: value[at] for name, value in held.items() if isinstance(value, Tensor)}
        why = {place: self.failures[row] for place, row in enumerate(at) if row in self.failures}
        return replace(self, **some, failures=why)

    def copy(self) -> Answer:
        """A copy for a metric, which may write into it: on the CPU, in double precision."""
        names = ("logit", "log_probability", "confidence", "distance", "at", "maps", "logits")
        return replace(self, **{name: own_copy(getattr(self, name)) for name in names})


Answers = Mapping[Probe, Answer]


def stacked(tables: Iterable[Tensor], places: Sequence[Tensor] = ()) -> Answer:
    """One answer from each image's table (`table_of`), and its places on the x axis if it has any; an image with fewer
    rows than others repeats its last."""
    every = list(tables)
    longest = max((len(table) for table in every), default=0)
    found = torch.stack([_padded(table, longest) for table in every])
    at = torch.stack([_padded(place, longest) for place in places]) if places else None
    logits = found[..., 2:-2] if found.shape[2] > 4 else None
    return Answer(found[..., 0], found[..., 1], found[..., -2], found[..., -1], at, logits=logits)


def table_of(head: Head, logits: Tensor, targets: Tensor, distances: Tensor, *, every: bool) -> Tensor:
    """What is told of n images with these logits (n×C): the target's logit and log-probability, then all logits where
    `every` says so, then the greatest probability and how far the features are from the image's own (n×4 or n×(4 + C),
    float64)."""
    scores = head.of_target(logits, targets)
    sure = head.log_probabilities(logits.to(scores)).amax(1).exp() if head.gives_probabilities else scores[:, 1]
    drift = torch.stack([sure, distances.to(scores)], 1)
    return torch.cat([scores, logits.to(scores), drift] if every else [scores, drift], 1)


def scores_in(table: Tensor) -> Tensor:
    """What a table says of the class alone, or of all: the target's logit and log-probability, and all logits."""
    return table[:, :-2]


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(length - len(rows), *rows.shape[1:])])
