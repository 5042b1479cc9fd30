"""Several objects: does a map show all of them, or the one that matters most?"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.metrics.localisation import mask_planes
from camfaith.metrics.similarity import top
from camfaith.models.settings import Count


def several_objects(maps: Tensor, masks: Tensor | None, least: int = 4) -> dict[str, Tensor]:
    """How many of the objects in a mask a map M finds (own definition): the parts o of the mask whose pixels touch at
    sides or corners, of at least `least` pixels. R are M's highest pixels above 0, as many as the objects have; those
    that tie for the last places count in part. Maps and masks are B×H×W, masks bool (an image without one has an
    all-False plane). Columns of B values, the first three NaN without an object and where M is nowhere positive:

    - `found` and `covered`: the means over o of max_o R and of |o ∩ R|/|o|, in [0, 1], higher is better
    - `weakest`: min_o mean_o M⁺ / mean_{∪o} M⁺, in [0, 1], which describes; NaN also for one object, and where M⁺ is 0
      on all
    - `objects` and `dropped`: how many there are, and how many parts are smaller; NaN for an empty mask

    >>> maps, masks = torch.tensor([[[9, 8, 0, 0, 1]]]), torch.tensor([[[True, True, False, True, True]]])
    >>> {name: value.item() for name, value in several_objects(maps, masks, least=2).items() if name != "weakest"}
    {'found': 1.0, 'covered': 0.75, 'objects': 2.0, 'dropped': 0.0}
    """
    mass = maps.double().clamp(min=0).cpu()
    rows = [_of_one(*pair, least) for pair in zip(mass, mask_planes(masks, mass), strict=True)]
    names = ("found", "covered", "weakest", "objects", "dropped")
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64, device=maps.device).T, strict=True))


def _of_one(mass: Tensor, mask: Tensor, least: int) -> tuple[float, ...]:
    parts, count = ndimage.label(mask.numpy(), structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    objects = [torch.from_numpy(parts == i + 1) for i in range(count) if sizes[i] >= least]
    about = (len(objects), count - len(objects)) if count else (nan, nan)
    if not objects or mass.amax() == 0:
        return (nan, nan, nan, *about)
    whole = torch.stack(objects).any(0)
    hottest = top(mass[None], float(whole.double().mean()))[0] * (mass > 0)
    touched, covered = (
        sum(float(of(hottest[one])) for one in objects) / len(objects) for of in (torch.amax, torch.mean)
    )
    average = float(mass[whole].mean())
    weakest = min(float(mass[one].mean()) for one in objects) / average if average and len(objects) > 1 else nan
    return (touched, covered, weakest, *about)


@dataclass(frozen=True, kw_only=True)
class SeveralObjects(Metric):
    """How many of the objects in the ground-truth mask a map finds (own definition).

    An object is a connected part of the mask (pixels touch at sides and corners) of at least `least` pixels; smaller
    ones leave the mask. The map's hottest region are its highest pixels above 0, as many as the mask has; where pixels
    of equal value tie for the last places, each is a part of it as they share these. Columns:

    - `found`: the share of objects that the hottest region touches, in [0, 1], higher is better
    - `covered`: the share of an object that the hottest region covers, mean over objects, in [0, 1], higher is better
    - `weakest`: how little of the map the least object gets, its mean relative to that of all, in [0, 1]; 1 where all
      objects get as much. Undefined also for one object, and where the map is not positive on the mask
    - `objects`: how many there are, and `dropped`: how many were too small

    A map that is hot in many places touches more, and a large object is hardly missed: read `found` beside `covered`
    and the random control. It cannot tell whether the network used the objects. Needs no model.
    """

    least: Count = 4
    name = "several-objects"
    main = "found"
    better = {"found": "higher", "covered": "higher"}
    range = {
        **dict.fromkeys(("found", "covered", "weakest"), (0, 1)),
        **dict.fromkeys(("objects", "dropped"), (0, inf)),
    }
    undefined = "no mask, no object in it (weakest: no two), or a map without positive values (weakest: there)"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return several_objects(maps.saliency, case.masks, self.least)
