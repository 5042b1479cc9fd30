"""Does a map lie where the evidence is known to be?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from camfaith.metrics.base import Direction, Metric
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.models.maps import is_constant
from camfaith.models.settings import NotNegative


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


@dataclass(frozen=True, kw_only=True)
class PointingGame(Metric):
    """Whether a map's highest pixel hits the ground-truth mask, or lies within `tolerance` pixels of it (Zhang et al.
    2018). Columns, higher is better:

    - `hit`: 1 or 0; of several equal highest pixels, the share that hits
    - `excess`: `hit` minus the share of the image's pixels that would have been a hit, which is 0 for a pixel at random

    The distance is Euclidean, from pixel to pixel. The tolerance of 15 pixels is the paper's, for photographs of some
    hundred pixels; small images and small objects want less. Needs no model. Undefined without a mask, for an empty
    mask, and for a constant map.
    """

    tolerance: NotNegative = 15.0
    name: ClassVar[str] = "pointing-game"
    main: ClassVar[str] = "hit"
    better: ClassVar[Mapping[str, Direction]] = {"hit": "higher", "excess": "higher"}
    undefined: ClassVar[str] = "no mask, an empty mask, or a constant map"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        masks = torch.zeros_like(maps.saliency, dtype=torch.bool) if case.masks is None else case.masks
        undefined = is_constant(maps.saliency) | ~masks.flatten(1).any(1)
        away = torch.stack([torch.from_numpy(distance_transform_edt(~mask.cpu().numpy())) for mask in masks])
        near = (away <= self.tolerance).to(masks.device, torch.float64)
        highest = maps.saliency == maps.saliency.amax((1, 2), keepdim=True)
        hit = torch.where(undefined, torch.nan, (near * highest).sum((1, 2)) / highest.sum((1, 2)))
        return {"hit": hit.cpu(), "excess": (hit - near.mean((1, 2))).cpu()}
