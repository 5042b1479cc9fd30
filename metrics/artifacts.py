"""How much of a map lies where nothing is: in corners, along borders, outside the picture's content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Direction, Metric
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Planes, Probe, Regions
from camfaith.models.classifier import ScoreKind

Zone = Literal["corners", "border", "outside"]


@dataclass(frozen=True)
class Partition(Planes):
    """A partition of the image: the zone itself, and the rest cut into 3×3 tiles.

    `corners`: the four corner cells of a `cells`×`cells` grid. `border`: a band 1/(2·`cells`) of each side wide, at
    least one pixel. `outside`: everything outside the content mask.
    """

    zone: Zone
    cells: int
    count: ClassVar[int] = 10

    def __call__(self, case: Case, index: int) -> Tensor:
        height, width = case.size
        zone = self.region(case, index)
        rows, columns = (torch.arange(n) * 3 // n for n in (height, width))
        tile = rows[:, None] * 3 + columns[None, :]
        rest = [(tile == t) & ~zone for t in range(9)]
        return torch.stack([zone, *rest]).to(case.images.device)

    def region(self, case: Case, index: int) -> Tensor:
        """The zone, H×W, bool."""
        height, width = case.size
        if self.zone == "outside":
            known = case.contents is not None and bool(case.contents[index].any())
            nowhere = torch.zeros(height, width, dtype=torch.bool)
            return ~case.contents[index].cpu() if known and case.contents is not None else nowhere
        low, high = _bands(height, self.cells, self.zone), _bands(width, self.cells, self.zone)
        if self.zone == "corners":
            return low[:, None] & high[None, :]
        return low[:, None] | high[None, :]


def _bands(side: int, cells: int, zone: Zone) -> Tensor:
    reach = max(1, round(side / cells) if zone == "corners" else round(side / (2 * cells)))
    along = torch.arange(side)
    return (along < reach) | (along >= side - reach)


@dataclass(frozen=True, kw_only=True)
class CornerArtifact(Metric):
    """How much of a map lies in the corners, the border band and outside the content, and how much of that the model
    does not support. A model that truly uses a corner is not marked down for a map that shows it.

    With R the zone, r its share of the area, M the saliency map, and f the `score` of the target:

    - `share`: Σ_R|M| / Σ|M|, in [0, 1]; `excess`: share − r
    - `peak`: 1 where the largest value lies in R, else 0; of several equal largest values, the share in R
    - `support`: s = |f(x) − f(x with R := b)| over the sum of the same for R and the rest cut into 3×3 tiles; 0 where
      no change exceeds rounding
    - `unsupported`: max(0, share − s), in [0, 1], lower is better

    Names without a prefix are for the corners, `border_…` and `outside_…` for the other two. Undefined for a zero map;
    `outside_…` also without a content mask.
    """

    cells: Annotated[int, Ge(3)] = 6
    """At least 3, so that the corners are not all there is."""
    baseline: Any = "black"
    score: ScoreKind = "probability"
    name: ClassVar[str] = "corner-artifact"
    main: ClassVar[str] = "unsupported"
    better: ClassVar[Mapping[str, Direction]] = {
        "unsupported": "lower",
        "border_unsupported": "lower",
        "outside_unsupported": "lower",
    }
    undefined: ClassVar[str] = "the map is zero, or the zone is empty (no content mask)"

    @property
    def _probes(self) -> dict[str, Regions]:
        zones: dict[str, Zone] = {"": "corners", "border_": "border", "outside_": "outside"}
        return {key: Regions(Partition(zone, self.cells), self.baseline) for key, zone in zones.items()}

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return tuple(self._probes.values())

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        whole = case.whole(self.score).cpu()[:, None]
        # A difference below this is the network's rounding, and a quotient of two of those means nothing.
        rounding = 16 * torch.finfo(case.images.dtype).eps * whole.abs().clamp(min=1)
        columns: dict[str, Tensor] = {}
        for key, probe in self._probes.items():
            zone = torch.stack([probe.planes(case, i)[0] for i in range(len(case))]).cpu()
            effect = (whole - answers[probe].of(self.score)).abs()
            effect = torch.where(effect <= rounding, 0.0, effect)
            columns |= {key + name: value for name, value in _measure(maps.saliency.cpu(), zone, effect).items()}
        return columns


def _measure(saliency: Tensor, zone: Tensor, effect: Tensor) -> dict[str, Tensor]:
    mass = saliency.to(torch.float64).abs()
    total, within = mass.sum((1, 2)), (mass * zone).sum((1, 2))
    area = zone.to(torch.float64).mean((1, 2))
    undefined = (total == 0) | (area == 0)
    top = saliency == saliency.amax((1, 2), keepdim=True)
    felt = effect.sum(1)
    support = torch.where(felt == 0, 0.0, effect[:, 0] / felt)
    share = within / total
    columns = {
        "share": share,
        "excess": share - area,
        "peak": (top & zone).sum((1, 2)) / top.sum((1, 2)).to(torch.float64),
        "support": support,
        "unsupported": (share - support).clamp(min=0),
    }
    return {name: torch.where(undefined, torch.nan, value) for name, value in columns.items()}
