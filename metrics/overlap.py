"""How well a map's highest pixels cover the evidence, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.metrics.localisation import mask_planes, share_in
from camfaith.metrics.similarity import leading, mean_ranks, top
from camfaith.models.maps import is_constant

THRESHOLDS = {"at_15": 0.15, "at_25": 0.25, "at_50": 0.5}
"""The fixed thresholds of `iou`, as shares of a map's maximum."""


def relevance_rank(maps: Tensor, masks: Tensor | None) -> dict[str, Tensor]:
    """|top-K ∩ G| / K for maps (B×H×W) and masks G of K pixels (B×H×W, bool; an image without one has an all-False
    plane): the relevance rank accuracy of Arras, Osman & Samek (2022). Pixels that tie for the last of the K places
    share them. Columns of B values, higher is better; NaN for an empty mask and a constant map:

    - `accuracy`: that share, in [0, 1]
    - `excess`: `accuracy` minus the mask's share of the area, in [−1, 1]

    >>> found = relevance_rank(torch.tensor([[[9, 7, 7, 0]]]), torch.tensor([[[True, True, False, False]]]))
    >>> {name: value.item() for name, value in found.items()}
    {'accuracy': 0.75, 'excess': 0.25}
    """
    masks = mask_planes(masks, maps)
    accuracy = _defined(maps, masks, share_in(leading(maps, masks.sum((1, 2)).clamp(min=1)), masks))
    return {"accuracy": accuracy, "excess": accuracy - masks.double().mean((1, 2))}


def top_k_intersection(maps: Tensor, masks: Tensor | None, share: float = 0.02) -> dict[str, Tensor]:
    """|top-k ∩ G| / k for maps (B×H×W) and masks G (B×H×W, bool; an image without one has an all-False plane), k a
    `share` of the pixels, at least 1 (Theiner et al. 2022). Pixels that tie for the last of the k places share them.
    Columns of B values, higher is better; NaN for an empty mask and a constant map:

    - `inside`: that share of the k pixels, in [0, 1]
    - `influence`: `inside` over the mask's share of the area, in [0, ∞); 1 for pixels at random

    >>> found = top_k_intersection(torch.tensor([[[9, 7, 7, 0]]]), torch.tensor([[[True, True, False, False]]]), 0.5)
    >>> {name: value.item() for name, value in found.items()}
    {'inside': 0.75, 'influence': 1.5}
    """
    masks = mask_planes(masks, maps)
    inside = _defined(maps, masks, share_in(top(maps, share), masks))
    return {"inside": inside, "influence": inside / masks.double().mean((1, 2))}


def iou(maps: Tensor, masks: Tensor | None) -> dict[str, Tensor]:
    """|P ∩ G| / |P ∪ G| of the pixels P = {M ≥ τ} of maps M (B×H×W) and of masks G (B×H×W, bool; an image without one
    has an all-False plane). Columns of B values in [0, 1], higher is better; NaN for an empty mask and a constant map:

    - `best`: at the threshold τ that is best for the image (Choe et al. 2020, there for a whole data set)
    - `excess`: `best` minus the mask's share of the area, which is the `best` of a constant map
    - `at_15`, `at_25`, `at_50`: τ is 0.15 (Selvaraju et al. 2017), 0.25 and 0.5 of max M; NaN also where M is nowhere
      positive

    >>> found = iou(torch.tensor([[[9, 7, 2, 0]]]), torch.tensor([[[True, True, False, False]]]))
    >>> {name: round(value.item(), 2) for name, value in found.items()}
    {'best': 1.0, 'excess': 0.5, 'at_15': 0.67, 'at_25': 1.0, 'at_50': 1.0}
    """
    masks, maps = mask_planes(masks, maps), maps.double()
    kept, hits, _ = _thresholds(maps, masks)
    size = masks.double().sum((1, 2))
    best = _defined(maps, masks, (hits / (size[:, None] + kept - hits)).amax(1))
    columns = {"best": best, "excess": best - size / masks[0].numel()}
    highest = maps.amax((1, 2), keepdim=True)
    for name, share in THRESHOLDS.items():
        shown = maps >= share * highest
        found = (shown & masks).sum((1, 2)) / (shown | masks).sum((1, 2)).double()
        columns[name] = _defined(maps, masks, found.where(highest.flatten() > 0, torch.nan))
    return columns


def localisation_auc(maps: Tensor, masks: Tensor | None) -> dict[str, Tensor]:
    """How well maps (B×H×W) tell the pixels of masks G (B×H×W, bool; an image without one has an all-False plane) from
    the others. Columns of B values in [0, 1], higher is better; NaN for an empty or full mask and a constant map:

    - `auc`: P(M_i > M_j) + ½ P(M_i = M_j) for a pixel i of G and a pixel j of the others, the area under the ROC curve
      (Fawcett 2006)
    - `average_precision`: Σ_n (R_n − R_{n−1}) P_n over the distinct values of M from the highest, with precision P_n
      and recall R_n of the pixels of at least that value (per pixel: Choe et al. 2020)

    >>> found = localisation_auc(torch.tensor([[[9, 7, 7, 0]]]), torch.tensor([[[True, True, False, False]]]))
    >>> {name: round(value.item(), 3) for name, value in found.items()}
    {'auc': 0.875, 'average_precision': 0.833}
    """
    masks = mask_planes(masks, maps)
    flat, size, pixels = masks.flatten(1), masks.double().sum((1, 2)), masks[0].numel()
    ranks = (mean_ranks(maps) * flat).sum(1)
    kept, hits, inside = _thresholds(maps, masks)
    columns = {
        "auc": (ranks - size * (size - 1) / 2) / (size * (pixels - size)),
        "average_precision": (inside * hits / kept).sum(1) / size,
    }
    return {name: _defined(maps, masks, found.where(size < pixels, torch.nan)) for name, found in columns.items()}


def _thresholds(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel, the highest first (B×N): how many pixels are as high or higher, how many of these the mask holds,
    and whether it holds this one."""
    values, order = maps.flatten(1).sort(1, descending=True)
    inside = masks.flatten(1).gather(1, order).double()
    places = torch.arange(values.shape[1], device=maps.device).expand_as(order)
    last = torch.nn.functional.pad(values[:, 1:] != values[:, :-1], (0, 1), value=True)
    end = places.where(last, values.shape[1]).flip(1).cummin(1).values.flip(1)
    return (end + 1).double(), inside.cumsum(1).gather(1, end), inside


def _defined(maps: Tensor, masks: Tensor, found: Tensor) -> Tensor:
    """The values; NaN for an empty mask and a constant map."""
    return found.where(masks.flatten(1).any(1) & ~is_constant(maps), torch.nan)


@dataclass(frozen=True, kw_only=True)
class RelevanceRank(Metric):
    """How many of a map's highest pixels, as many as the ground-truth mask has, lie inside it (relevance rank accuracy:
    Arras, Osman & Samek 2022). Columns, higher is better:

    - `accuracy`: the share of them, in [0, 1]; pixels that tie for the last places count in part
    - `excess`: `accuracy` minus the mask's share of the area, in [−1, 1], which is 0 for pixels at random

    It cannot tell whether the network used what is in the mask. Needs no model.
    """

    name = "relevance-rank"
    main = "accuracy"
    better = {"accuracy": "higher", "excess": "higher"}
    range = {"accuracy": (0, 1), "excess": (-1, 1)}
    undefined = "no mask, an empty mask, or a constant map"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return relevance_rank(maps.saliency, case.masks)


@dataclass(frozen=True, kw_only=True)
class TopKIntersection(Metric):
    """How many of a map's k highest pixels lie inside the ground-truth mask; k is a `share` of the image's pixels, at
    least one (Theiner et al. 2022). Columns, higher is better:

    - `inside`: the share of them, in [0, 1]; pixels that tie for the last places count in part
    - `influence`: `inside` over the mask's share of the area, in [0, ∞), which is 1 for pixels at random

    The authors take 1000 pixels, of 224×224 about the default. A mask of fewer than k pixels cannot hold all of them:
    `relevance-rank` takes as many as it has. It cannot tell whether the network used what is in the mask. Needs no
    model.
    """

    share: Annotated[float, Gt(0), Lt(1)] = 0.02
    name = "top-k-intersection"
    main = "inside"
    better = {"inside": "higher", "influence": "higher"}
    range = {"inside": (0, 1), "influence": (0, inf)}
    undefined = "no mask, an empty mask, or a constant map"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return top_k_intersection(maps.saliency, case.masks, self.share)


@dataclass(frozen=True, kw_only=True)
class IoU(Metric):
    """The intersection over union of the ground-truth mask and what a map shows above a threshold (localisation by
    class activation: Zhou et al. 2016). Columns in [0, 1], higher is better:

    - `best`: at the threshold that is best for the image (Choe et al. 2020, there for a whole data set)
    - `excess`: `best` minus the mask's share of the area, which any map reaches by a threshold below all its values
    - `at_15`, `at_25`, `at_50`: at 0.15 (Selvaraju et al. 2017), 0.25 and 0.5 of the map's maximum

    A fixed threshold judges how wide a map spreads, as much as where it lies: `at_…` change where a map is squared,
    `best` does not. Neither can tell whether the network used what is in the mask. Needs no model.
    """

    name = "iou"
    main = "best"
    better = dict.fromkeys(("best", "excess", *THRESHOLDS), "higher")
    range = dict.fromkeys(("best", "excess", *THRESHOLDS), (0, 1))
    undefined = "no mask, an empty mask, or a constant map; at_…: the map has no positive values"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return iou(maps.saliency, case.masks)


@dataclass(frozen=True, kw_only=True)
class LocalisationAUC(Metric):
    """How well a map's values tell the pixels inside the ground-truth mask from those outside, over all thresholds.
    Columns in [0, 1], higher is better, exact where pixels tie:

    - `auc`: the area under the ROC curve, 0.5 for a map at random: the probability that a pixel inside is higher than
      one outside (Fawcett 2006)
    - `average_precision`: the area under precision and recall as steps, the mask's share of the area for a map at
      random (per pixel: Choe et al. 2020)

    For a small mask, `auc` forgives many high pixels outside; `average_precision` does not. Neither can tell whether
    the network used what is in the mask. Needs no model.
    """

    name = "localisation-auc"
    main = "auc"
    better = {"auc": "higher", "average_precision": "higher"}
    range = {"auc": (0, 1), "average_precision": (0, 1)}
    undefined = "no mask, an empty or a full mask, or a constant map"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return localisation_auc(maps.saliency, case.masks)
