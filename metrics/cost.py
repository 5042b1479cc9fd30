"""Cost: what a map takes to make."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric


@dataclass(frozen=True, kw_only=True)
class Cost(Metric):
    """What a run spent on a map (own definition): each number is that of the batch in which it was made, over the
    images of that batch. Columns in [0, ∞):

    - `forwards` and `backwards`: images through the network, and back, the pass that methods share counted in full
    - `seconds`: the time of that pass, if the method needs more of it than the image, and of the method's own work
    - `memory`: the most MiB that tensors made on the way hold at once, in the pass or in the method's own work; weights
      do not count

    They describe: a map that costs little is not a better one, and the controls cost least. Only a run knows what its
    maps took: of maps from anywhere all columns are undefined. Needs no model.
    """

    name = "cost"
    main = "forwards"
    better = {}
    range = dict.fromkeys(("forwards", "backwards", "seconds", "memory"), (0, inf))
    undefined = "nobody measured how the map was made: a run does"
    exempt = {"size": "only maps that a run made have a cost"}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        spent = [None] * len(case) if maps.spent is None else maps.spent
        of_each = ([getattr(one, column, torch.nan) for one in spent] for column in self.range)
        return {
            name: torch.tensor(values, dtype=torch.float64) for name, values in zip(self.range, of_each, strict=True)
        }
