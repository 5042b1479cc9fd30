"""The shape of a map: how much of the image it takes up, whatever is there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric


def sparseness(maps: Tensor) -> dict[str, Tensor]:
    """How few pixels hold a map's positive mass, by p_i = M⁺_i / Σ M⁺ over the N pixels of maps M (B×H×W). Columns of B
    values, which describe; NaN where M is nowhere positive:

    - `gini`: 1 − 2 Σ_k p_(k) (N − k + ½)/N, with p_(1) ≤ … ≤ p_(N); from 0, all pixels alike, to 1 − 1/N, one pixel
      alone (Hurley & Rickard 2009; of attributions: Chalasani et al. 2020)
    - `entropy`: H/ln N with H = −Σ p_i ln p_i, in [0, 1]; 1 where all pixels are alike (Shannon 1948)
    - `effective_size`: e^H/N, in [1/N, 1]

    >>> {name: value.tolist() for name, value in sparseness(torch.tensor([[[0, 0], [0, 5]], [[1, 1], [1, 1]]])).items()}
    {'gini': [0.75, 0.0], 'entropy': [0.0, 1.0], 'effective_size': [0.25, 1.0]}
    """
    mass = maps.flatten(1).double().clamp(min=0)
    N = mass.shape[1]
    p = (mass / mass.sum(1, keepdim=True)).sort(1).values  # 0/0 is NaN, and so is all that follows
    k = torch.arange(1, N + 1, device=p.device)
    H = torch.special.entr(p).sum(1)
    return {
        "gini": 1 - 2 * (p * (N - k + 0.5) / N).sum(1),
        "entropy": H / math.log(N),
        "effective_size": H.exp() / N,
    }


@dataclass(frozen=True, kw_only=True)
class Sparseness(Metric):
    """How few pixels hold a map's positive mass (Hurley & Rickard 2009; Chalasani et al. 2020), at the image's size.
    Columns in [0, 1]:

    - `gini`: the Gini index, 0 where all pixels are alike, nearly 1 for one pixel alone
    - `entropy`: the entropy of the mass, relative to its largest; 1 where all pixels are alike
    - `effective_size`: the share of the image that equal pixels of the same entropy take up

    They describe: a sharp map is not a right one, so no direction is better. Needs no model.
    """

    name = "sparseness"
    main = "gini"
    better = {}
    range = {"gini": (0, 1), "entropy": (0, 1), "effective_size": (0, 1)}
    undefined = "the map has no positive values"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return sparseness(maps.saliency)
