"""The axioms that XGrad-CAM was built on: does a map add up to the score, and each channel to what it is worth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.probes import Blank, Channels


def conservation(maps: Tensor, logit: Tensor, explainable: Tensor, least: Tensor | float = 0.0) -> dict[str, Tensor]:
    """How far the sum of a raw map M (B×h×w) is from the class's logit S_c (B), and from the part of it that a map can
    explain, E (B; Fu et al. 2020). Columns of B values; a quotient is NaN where its denominator is no more than `least`
    (a number, or B):

    - `residual`: |S_c − ΣM| / |S_c|, and `residual_corrected`: |E − ΣM| / |E|, in [0, ∞), lower is better, 0 is exact
    - `map_sum`, `logit`, `explainable`: ΣM, S_c and E, of any size, which describe

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
    """How far what each of K channels adds to a map's sum, c (B×K), is from what the logit loses without it, Δ (B×K):
    Σ_k |Δ_k − c_k| / Σ_k |Δ_k| (B), in [0, ∞), lower is better, 0 is exact (Fu et al. 2020). NaN where the denominator
    is no more than `least` (a number, or B); `ValueError` for c and Δ of different shapes.

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
    """What each step of display adds to a map's sum, over the size of the logit S_c (B), for raw maps (B×h×w), the same
    rectified and at the images' size, and as `displayed` (B×H×W each; own definition). Columns of B values, of any
    size, which describe: `relu`, `upsampling` (sums at the images' size count per native cell) and `normalisation`. NaN
    where |S_c| is no more than `least` (a number, or B).

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
    """How far a raw map's sum, before any ReLU, is from the class's logit (Fu et al. 2020). Columns, the first three
    in [0, ∞), lower is better, 0 is exact:

    - `residual`: the difference from the logit, over the size of the logit
    - `residual_corrected`: the same for what the map can explain, the logit minus that with the layer's activations all
      zero or, for a map of the input, minus that of the `baseline`
    - `sensitivity`: how far what each channel adds to the sum is from what the logit loses without the channel, over
      what it loses in all; only for methods that say what each channel adds
    - `map_sum`, `logit`, `explainable`: the map's sum, the logit, and what of it the map can explain
    - `relu`, `upsampling`, `normalisation`: what each display step adds to the sum (per native cell), over the logit's
      size

    A quotient is undefined where its denominator is below 10⁻⁶ of the largest logit. It cannot tell where a map lies:
    one that is shifted, or shuffled, adds up to the same.
    """

    baseline: Any = "black"
    name = "conservation"
    main = "residual"
    better = {"residual": "lower", "residual_corrected": "lower", "sensitivity": "lower"}
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
