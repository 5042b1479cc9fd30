"""How much of a map lies where nothing is: in corners, along borders, outside the picture's content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.localisation import share_in
from camfaith.metrics.precision import rounding
from camfaith.metrics.probing.probes import Planes, Regions
from camfaith.models.classifier import ScoreKind
from camfaith.models.zones import CELLS, border, corners

Zone = Literal["corners", "border", "outside"]


def corner_artifact(maps: Tensor, parts: Tensor, effects: Tensor) -> dict[str, Tensor]:
    """How much of a map M lies in a zone R of P parts, and how much of that the model does not support (own
    definition). Maps are B×H×W, `parts` B×P×H×W (bool), and `effects` |f(x) − f(x without a part)| (B×n): those of the
    zone's parts, and then of the rest's. Columns of B values, NaN where M is zero or a part is empty:

    - `share`: Σ_R|M| / Σ|M|, in [0, 1], which describes; `excess`: share − |R|/(HW), in [−1, 1]
    - `peak`: the share of M's highest pixels that lies in R, in [0, 1], which describes
    - `support`: s = the share that the parts have in Σ effects (0 where there are none), in [0, 1], which describes
    - `unsupported`: Σ max(0, share − s) over the parts, in [0, 1], lower is better

    >>> found = corner_artifact(torch.tensor([[[3, 1]]]), torch.tensor([[[[True, False]]]]), torch.tensor([[0.1, 0.3]]))
    >>> {name: round(value.item(), 2) for name, value in found.items()}
    {'share': 0.75, 'excess': 0.25, 'peak': 1.0, 'support': 0.25, 'unsupported': 0.5}
    """
    zone, effects = parts.any(1), effects.double()
    share, felt = share_in(maps.abs()[:, None], parts), effects.sum(1, keepdim=True)
    support = torch.where(felt == 0, 0.0, effects[:, : parts.shape[1]] / felt)
    top = maps == maps.amax((1, 2), keepdim=True)
    columns = {
        "share": share.sum(1),
        "excess": share.sum(1) - zone.double().mean((1, 2)),
        "peak": (top & zone).sum((1, 2)) / top.sum((1, 2)).double(),
        "support": support.sum(1),
        "unsupported": (share - support).clamp(min=0).sum(1),
    }
    return {name: torch.where(share.isnan().any(1), torch.nan, value) for name, value in columns.items()}


@dataclass(frozen=True)
class Partition(Planes):
    """A partition of the image: the `parts` of the zone, and the rest cut into 3×3 tiles.

    `corners`: the four corner cells of a `cells`×`cells` grid, each a part of its own. `border`: a band 1/(2·`cells`)
    of each side wide, at least one pixel. `outside`: everything outside the content mask.
    """

    zone: Zone
    cells: int

    @property
    def parts(self) -> int:
        return 4 if self.zone == "corners" else 1

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.parts + 9

    def __call__(self, case: Case, index: int) -> Tensor:
        height, width = case.size
        zone = self.region(case, index)
        rows, columns = (torch.arange(n) * 3 // n for n in (height, width))
        tile = rows[:, None] * 3 + columns[None, :]
        rest = [(tile == t) & ~zone for t in range(9)]
        own = [zone]
        if self.zone == "corners":
            upper, left = torch.arange(height)[:, None] < height / 2, torch.arange(width) < width / 2
            own = [zone & vertical & sideways for vertical in (upper, ~upper) for sideways in (left, ~left)]
        return torch.stack([*own, *rest]).to(case.images.device)

    def region(self, case: Case, index: int) -> Tensor:
        """The zone, H×W, bool."""
        height, width = case.size
        if self.zone == "outside":
            content = case.content(index)
            return torch.zeros(height, width, dtype=torch.bool) if content is None else ~content.cpu()
        return (corners if self.zone == "corners" else border)(height, width, self.cells)


@dataclass(frozen=True, kw_only=True)
class CornerArtifact(Metric):
    """How much of a map lies in the corners, the border band and outside the content, and how much of that the model
    does not support (own definition). A model that truly uses a corner is not marked down for a map that shows it.

    The corners are cells of a `cells`×`cells` grid. Columns of each zone, all but `excess` in [0, 1]:

    - `share`: how much of the sum of the map's absolute values lies in the zone; `excess`: that minus the zone's share
      of the area
    - `peak`: 1 where the largest value lies in the zone, else 0; of several equal largest values, the share in it
    - `support`: what the target's `score` changes by when the `baseline` replaces the zone, over the sum of the same
      for the zone and for the rest cut into 3×3 tiles. Corners are taken out one by one, and this is the sum of theirs
    - `unsupported`: how far the share is above the support, lower is better; summed over the corners, so that a corner
      which the model uses excuses no other. A model that wants all four at once, and minds the loss of none, is not
      understood

    A change below rounding is none: below 16 ε·z of a logit, and 16 ε·z·p(1 − p) of a probability p, with ε the
    network's precision and z the greatest size of its logits. So probabilities near 0 and 1 keep their support.

    Names without a prefix are for the corners, `border_…` and `outside_…` for the other two. `outside_…` is undefined
    without a content mask.
    """

    cells: Annotated[int, Ge(3)] = CELLS
    """At least 3, so that the corners are not all there is."""
    baseline: Any = "black"
    score: ScoreKind = "probability"
    name = "corner-artifact"
    version = 2
    main = "unsupported"
    better = {"unsupported": "lower", "border_unsupported": "lower", "outside_unsupported": "lower"}
    range = {
        zone + column: (-1, 1) if column == "excess" else (0, 1)
        for zone in ("", "border_", "outside_")
        for column in ("share", "excess", "peak", "support", "unsupported")
    }
    undefined = "the map is zero, or the zone is empty (no content mask)"
    exempt = {"opposite-map": "it asks where a map lies, for or against the class"}

    @property
    def _partitions(self) -> dict[str, Partition]:
        zones: dict[str, Zone] = {"": "corners", "border_": "border", "outside_": "outside"}
        return {key: Partition(zone, self.cells) for key, zone in zones.items()}

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return tuple(Regions(partition, self.baseline) for partition in self._partitions.values())

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        columns: dict[str, Tensor] = {}
        for key, partition in self._partitions.items():
            answer = answers[Regions(partition, self.baseline)]
            parts = torch.stack([partition(case, index) for index in range(len(case))])[:, : partition.parts]
            effects = (case.whole(self.score)[:, None] - answer.of(self.score)).abs()
            effects = torch.where(effects <= 16 * rounding(case, answer, self.score), 0.0, effects)
            columns |= {key + name: value for name, value in corner_artifact(maps.saliency, parts, effects).items()}
        return columns
