"""Does a map lie where the evidence is known to be?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from camfaith.metrics.base import Direction, Metric
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps


@dataclass(frozen=True, kw_only=True)
class EnergyPointingGame(Metric):
    """The share of a map's positive mass inside the ground-truth mask: `mass` = Σ_mask M⁺ / Σ M⁺, in [0, 1], higher is
    better (Wang et al. 2020); `excess` is `mass` minus the mask's share of the area, 0 for a constant map.

    Needs no model. Undefined without a mask, for an empty mask, and for a map without positive values.
    """

    name: ClassVar[str] = "energy-pointing-game"
    main: ClassVar[str] = "mass"
    better: ClassVar[Mapping[str, Direction]] = {"mass": "higher", "excess": "higher"}
    undefined: ClassVar[str] = "no mask, an empty mask, or a map without positive values"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        if case.masks is None:
            nothing = torch.full((len(case),), torch.nan, dtype=torch.float64)
            return {"mass": nothing, "excess": nothing}
        energy, masks = maps.saliency.to(torch.float64).clamp(min=0), case.masks
        total = energy.sum((1, 2))
        undefined = (total == 0) | ~masks.flatten(1).any(1)
        mass = torch.where(undefined, torch.nan, (energy * masks).sum((1, 2)) / total)
        return {"mass": mass.cpu(), "excess": (mass - masks.to(torch.float64).mean((1, 2))).cpu()}
