"""How much of a map lies where nothing is: in corners, along borders, outside the picture's content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Direction, Metric
from camfaith.metrics.probing.answers import Answer, Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Planes, Probe, Regions
from camfaith.models.classifier import ScoreKind
from camfaith.models.zones import CELLS, border, corners

Zone = Literal["corners", "border", "outside"]


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
            known = case.contents is not None and bool(case.contents[index].any())
            nowhere = torch.zeros(height, width, dtype=torch.bool)
            return ~case.contents[index].cpu() if known and case.contents is not None else nowhere
        return (corners if self.zone == "corners" else border)(height, width, self.cells)


@dataclass(frozen=True, kw_only=True)
class CornerArtifact(Metric):
    """How much of a map lies in the corners, the border band and outside the content, and how much of that the model
    does not support (own definition). A model that truly uses a corner is not marked down for a map that shows it.

    With R the zone (the corners are cells of a `cells`×`cells` grid), r its share of the area, M the saliency map, f
    the `score` of the target, and b the `baseline`:

    - `share`: Σ_R|M| / Σ|M|, in [0, 1]; `excess`: share − r
    - `peak`: 1 where the largest value lies in R, else 0; of several equal largest values, the share in R
    - `support`: s = |f(x) − f(x with R := b)| over the sum of the same for R and the rest cut into 3×3 tiles. Corners
      are taken out one by one, and s is the sum of theirs
    - `unsupported`: max(0, share − s), in [0, 1], lower is better; summed over the corners, so that a corner which the
      model uses excuses no other. A model that wants all four at once, and minds the loss of none, is not understood

    A change below rounding is none: below 16 ε·z of a logit, and 16 ε·z·p(1 − p) of a probability p, with ε the
    network's precision and z the greatest size of its logits. So probabilities near 0 and 1 keep their support.

    Names without a prefix are for the corners, `border_…` and `outside_…` for the other two. Undefined for a zero map;
    `outside_…` also without a content mask.
    """

    cells: Annotated[int, Ge(3)] = CELLS
    """At least 3, so that the corners are not all there is."""
    baseline: Any = "black"
    score: ScoreKind = "probability"
    name: ClassVar[str] = "corner-artifact"
    version: ClassVar[int] = 2
    main: ClassVar[str] = "unsupported"
    better: ClassVar[Mapping[str, Direction]] = {
        "unsupported": "lower",
        "border_unsupported": "lower",
        "outside_unsupported": "lower",
    }
    undefined: ClassVar[str] = "the map is zero, or the zone is empty (no content mask)"
    exempt: ClassVar[Mapping[str, str]] = {"opposite-map": "it asks where a map lies, for or against the class"}

    @property
    def _partitions(self) -> dict[str, Partition]:
        zones: dict[str, Zone] = {"": "corners", "border_": "border", "outside_": "outside"}
        return {key: Partition(zone, self.cells) for key, zone in zones.items()}

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return tuple(Regions(partition, self.baseline) for partition in self._partitions.values())

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        columns: dict[str, Tensor] = {}
        for key, partition in self._partitions.items():
            zone = torch.stack([partition(case, i)[: partition.parts] for i in range(len(case))]).cpu()
            effect = self._effect(case, answers[Regions(partition, self.baseline)])
            columns |= {key + name: value for name, value in _measure(maps.saliency.cpu(), zone, effect).items()}
        return columns

    def _effect(self, case: Case, answer: Answer) -> Tensor:
        """|f(x) − f(x with a part removed)| for each part (B×n), 0 where that is no more than rounding."""
        before, after = case.whole(self.score).cpu()[:, None], answer.of(self.score)
        rounding = answer.logit.abs().maximum(case.logits.abs().amax(1, keepdim=True).cpu().to(torch.float64))
        rounding = 16 * torch.finfo(case.images.dtype).eps * rounding
        if self.score == "probability":
            rounding = rounding * (before * (1 - before)).maximum(after * (1 - after))
        effect = (before - after).abs()
        return torch.where(effect <= rounding, 0.0, effect)


def _measure(saliency: Tensor, zone: Tensor, effect: Tensor) -> dict[str, Tensor]:
    """The columns of one zone, given its parts (B×P×H×W) and what the model feels of each part and tile (B×n)."""
    mass, whole = saliency.to(torch.float64).abs(), zone.any(1)
    total, within = mass.sum((1, 2)), (mass[:, None] * zone).sum((2, 3))
    area = whole.to(torch.float64).mean((1, 2))
    undefined = (total == 0) | (area == 0)
    top = saliency == saliency.amax((1, 2), keepdim=True)
    felt = effect.sum(1, keepdim=True)
    support = torch.where(felt == 0, 0.0, effect[:, : zone.shape[1]] / felt)
    share = within / total[:, None]
    columns = {
        "share": share.sum(1),
        "excess": share.sum(1) - area,
        "peak": (top & whole).sum((1, 2)) / top.sum((1, 2)).to(torch.float64),
        "support": support.sum(1),
        "unsupported": (share - support).clamp(min=0).sum(1),
    }
    return {name: torch.where(undefined, torch.nan, value) for name, value in columns.items()}
