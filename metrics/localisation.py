"""Does a map lie where the evidence is known to be?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.models.maps import is_constant
from camfaith.models.settings import NotNegative


def energy_pointing_game(maps: Tensor, masks: Tensor | None) -> dict[str, Tensor]:
    """The share of a map's positive mass inside a mask, for maps M (B×H×W) and masks (B×H×W, bool; an image without one
    has an all-False plane). Columns of B values, higher is better; NaN for an empty mask, and where M is nowhere
    positive:

    - `mass`: Σ_mask M⁺ / Σ M⁺, in [0, 1] (Wang et al. 2020)
    - `excess`: `mass` minus the mask's share of the area, in [−1, 1]

    >>> found = energy_pointing_game(torch.tensor([[[3, 1], [0, -5]]]), torch.tensor([[[True, False], [False, False]]]))
    >>> {name: value.item() for name, value in found.items()}
    {'mass': 0.75, 'excess': 0.5}
    """
    masks = mask_planes(masks, maps)
    mass = share_in(maps.clamp(min=0), masks)
    return {"mass": mass, "excess": mass - masks.double().mean((1, 2))}


def pointing_game(maps: Tensor, masks: Tensor | None, tolerance: float = 15.0) -> dict[str, Tensor]:
    """Whether a map's highest pixel lies within `tolerance` pixels of a mask (Zhang et al. 2018), by Euclidean
    distance, for maps (B×H×W) and masks (B×H×W, bool; an image without one has an all-False plane). Columns of B
    values, higher is better; NaN for an empty mask and a constant map:

    - `hit`: the share of the highest pixels that do, in [0, 1]
    - `excess`: `hit` minus the share of all pixels that do, in [−1, 1]

    >>> maps, masks = torch.tensor([[[0, 0, 9, 0]]]), torch.tensor([[[True, False, False, False]]])
    >>> [pointing_game(maps, masks, tolerance)["hit"].item() for tolerance in (1, 2)]
    [0.0, 1.0]
    """
    masks = mask_planes(masks, maps)
    undefined = is_constant(maps) | ~masks.flatten(1).any(1)
    away = torch.stack([torch.from_numpy(distance_transform_edt(~mask.cpu().numpy())) for mask in masks])
    near = (away <= tolerance).to(maps.device).double()
    highest = maps == maps.amax((1, 2), keepdim=True)
    hit = torch.where(undefined, torch.nan, (near * highest).sum((1, 2)) / highest.sum((1, 2)))
    return {"hit": hit, "excess": hit - near.mean((1, 2))}


def share_in(mass: Tensor, zones: Tensor) -> Tensor:
    """The share of a map that lies in a zone R, Σ_R mass / Σ mass, over the last two axes of both; in [0, 1] for a mass
    that is nowhere negative (own definition). It describes. NaN where the zone is empty or there is no mass.

    >>> share_in(torch.tensor([[[3, 1]]]), torch.tensor([[[True, False]]]))
    tensor([0.7500], dtype=torch.float64)
    """
    share = (mass.double() * zones).sum((-2, -1)) / mass.double().sum((-2, -1))  # NaN where there is no mass
    return torch.where(zones.flatten(-2).any(-1), share, torch.nan)


def mask_planes(given: Tensor | None, maps: Tensor) -> Tensor:
    """The planes of a mask, bool and beside the maps; all-False ones where none is given."""
    return torch.zeros_like(maps, dtype=torch.bool) if given is None else given.to(maps.device, torch.bool)


@dataclass(frozen=True, kw_only=True)
class EnergyPointingGame(Metric):
    """How much of a map's positive mass lies inside the ground-truth mask (Wang et al. 2020). Columns, higher is
    better:

    - `mass`: the share of it, in [0, 1]
    - `excess`: `mass` minus the mask's share of the area, in [−1, 1], which is 0 for a constant map

    It cannot tell whether the network used what is in the mask. Needs no model.
    """

    name = "energy-pointing-game"
    main = "mass"
    better = {"mass": "higher", "excess": "higher"}
    range = {"mass": (0, 1), "excess": (-1, 1)}
    undefined = "no mask, an empty mask, or a map without positive values"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return energy_pointing_game(maps.saliency, case.masks)


@dataclass(frozen=True, kw_only=True)
class PointingGame(Metric):
    """Whether a map's highest pixel hits the ground-truth mask, or lies within `tolerance` pixels of it (Zhang et al.
    2018). Columns, higher is better:

    - `hit`: 1 or 0; of several equal highest pixels, the share that hits
    - `excess`: `hit` minus the share of the image's pixels that would have been a hit, which is 0 for a pixel at random

    The tolerance of 15 pixels is the paper's, for photographs of some hundred pixels; small images and small objects
    want less. It cannot tell whether the network used what is in the mask. Needs no model.
    """

    tolerance: NotNegative = 15.0
    name = "pointing-game"
    main = "hit"
    better = {"hit": "higher", "excess": "higher"}
    range = {"hit": (0, 1), "excess": (-1, 1)}
    undefined = "no mask, an empty mask, or a constant map"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return pointing_game(maps.saliency, case.masks, self.tolerance)
