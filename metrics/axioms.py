"""The axioms that XGrad-CAM was built on: does a map add up to the score, and each channel to what it is worth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Metric
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Blank, Channels, Probe


def conservation(maps: Tensor, logit: Tensor, explainable: Tensor, least: Tensor | float = 0.0) -> dict[str, Tensor]:
    """`residual` and `residual_corrected` of `Conservation`, and what they come from: raw maps M (B×h×w), logits S_c
    (B), and what of these a map can explain (B). NaN where what is divided by is no more than `least`.

    >>> found = conservation(torch.tensor([[[1.0, 2.0]]]), torch.tensor([4.0]), torch.tensor([3.0]))
    >>> {name: value.item() for name, value in found.items()}
    {'residual': 0.25, 'residual_corrected': 0.0, 'map_sum': 3.0, 'logit': 4.0, 'explainable': 3.0}
    """
    total, logit, explainable = maps.double().sum((1, 2)), logit.double(), explainable.double()
    return {
        "residual": quotient((logit - total).abs(), logit.abs(), least),
        "residual_corrected": quotient((explainable - total).abs(), explainable.abs(), least),
        "map_sum": total,
        "logit": logit,
        "explainable": explainable,
    }


def channel_sensitivity(contributions: Tensor, drops: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Σ_k |Δ_k − c_k| / Σ_k |Δ_k|, for what each of K channels adds to a map's sum, c (B×K), and what the logit loses
    without it, Δ (B×K). NaN where the denominator is no more than `least`; `ValueError` for another shape.

    >>> channel_sensitivity(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])).item()
    0.25
    """
    if contributions.shape != drops.shape:
        wanted, got = ("×".join(map(str, t.shape)) for t in (drops, contributions))
        raise ValueError(f"contributions: expected {wanted}, one per image and channel, got {got}")
    drops = drops.double()
    return quotient((drops - contributions.double()).abs().sum(1), drops.abs().sum(1), least)


def display_steps(
    maps: Tensor, positive: Tensor, displayed: Tensor, logit: Tensor, least: Tensor | float = 0.0
) -> dict[str, Tensor]:
    """What ReLU, upsampling (counted per native cell) and normalisation each add to a map's sum, over |S_c|, for raw
    maps (B×h×w), the same rectified and at the images' size, and as displayed (B×H×W), and logits S_c (B).

    >>> raw, grown, shown = torch.tensor([[[2, -2]]]), torch.tensor([[[2, 2, 0, 0]]]), torch.tensor([[[1, 1, 0, 0]]])
    >>> {name: value.item() for name, value in display_steps(raw, grown, shown, torch.tensor([4.0])).items()}
    {'relu': 0.5, 'upsampling': 0.0, 'normalisation': -0.25}
    """
    cell = maps[0].numel() / positive[0].numel()
    steps = ((1, maps), (1, maps.clamp(min=0)), (cell, positive), (cell, displayed))
    sums = [weight * each.double().sum((1, 2)) for weight, each in steps]
    names = ("relu", "upsampling", "normalisation")
    added = zip(names, sums, sums[1:], strict=False)
    return {name: quotient(after - before, logit.double().abs(), least) for name, before, after in added}


@dataclass(frozen=True, kw_only=True)
class Conservation(Metric):
    """How far the raw map's sum is from the class's logit S_c (Fu et al. 2020); lower is better, 0 is exact.

    Columns (M is the raw native map, before any ReLU):

    - `residual`: |S_c − ΣM| / |S_c|
    - `residual_corrected`: the same against what the map can explain, S_c − S_c(layer's activations all zero), or
      S_c(x) − S_c(b) for a map of the input, b the `baseline`
    - `sensitivity`: Σ_k |Δ_k − Σ_ij w_k A^k_ij| / Σ_k |Δ_k|, where Δ_k is what the logit loses without channel k;
      only for methods that say what each channel adds
    - `map_sum`, `logit`, `explainable`: ΣM, S_c, and the corrected target
    - `relu`, `upsampling`, `normalisation`: what each display step adds to the sum (per native cell), over |S_c|

    The three are in [0, ∞). A quotient is undefined where its denominator is below 10⁻⁶ of the largest logit.
    """

    baseline: Any = "black"
    name = "conservation"
    main = "residual"
    better = {
        "residual": "lower",
        "residual_corrected": "lower",
        "sensitivity": "lower",
    }
    range = {
        **dict.fromkeys(("residual", "residual_corrected", "sensitivity"), (0, inf)),
        **dict.fromkeys(("map_sum", "logit", "explainable", "relu", "upsampling", "normalisation"), (-inf, inf)),
    }
    undefined = "the denominator is too small, or the method does not say what each channel adds"
    exempt = {"scale": "the map's sum is compared with the logit"}

    def _reference(self, layer: str | None) -> Channels | Blank:
        return Blank(self.baseline) if layer is None else Channels(layer)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._reference(layer),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        logit, without = case.whole("logit"), answers[self._reference(maps.layer)].logit
        least = 1e-6 * case.logits.abs().amax(1)
        columns = conservation(maps.raw, logit, logit - without[:, -1], least)
        if maps.layer is None or maps.contributions is None:
            columns["sensitivity"] = torch.full_like(logit, torch.nan)
        else:
            drops = logit[:, None] - without[:, :-1]
            columns["sensitivity"] = channel_sensitivity(maps.contributions, drops, least)
        return columns | display_steps(maps.raw, maps.positive, maps.displayed, logit, least)
