"""The axioms that XGrad-CAM was built on: does a map add up to the score, and each channel to what it is worth?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from camfaith.metrics.base import Direction, Metric
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Blank, Channels, Probe
from camfaith.models.maps import normalise, rectify, upsample


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
    name: ClassVar[str] = "conservation"
    main: ClassVar[str] = "residual"
    better: ClassVar[Mapping[str, Direction]] = {
        "residual": "lower",
        "residual_corrected": "lower",
        "sensitivity": "lower",
    }
    undefined: ClassVar[str] = "the denominator is too small, or the method does not say what each channel adds"
    exempt: ClassVar[Mapping[str, str]] = {"scale": "the map's sum is compared with the logit"}

    def _reference(self, layer: str | None) -> Channels | Blank:
        return Blank(self.baseline) if layer is None else Channels(layer)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._reference(layer),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        logit = case.whole("logit").cpu()
        without = answers[self._reference(maps.layer)].logit
        tiny = 1e-6 * case.logits.abs().amax(1).cpu().to(torch.float64)
        total = _total(maps.raw)
        explainable = logit - without[:, -1]
        return {
            "residual": _relative(logit - total, logit, tiny),
            "residual_corrected": _relative(explainable - total, explainable, tiny),
            "sensitivity": self._sensitivity(logit, without, maps, tiny),
            "map_sum": total,
            "logit": logit,
            "explainable": explainable,
            **{name: _relative(added, logit, tiny, signed=True) for name, added in _ledger(maps).items()},
        }

    def _sensitivity(self, logit: Tensor, without: Tensor, maps: Maps, tiny: Tensor) -> Tensor:
        if maps.layer is None or maps.contributions is None:
            return torch.full_like(logit, torch.nan)
        drops = logit[:, None] - without[:, :-1]
        if maps.contributions.shape != drops.shape:
            wanted, got = ("×".join(map(str, t.shape)) for t in (drops, maps.contributions))
            raise ValueError(f"contributions: expected {wanted}, one per image and channel, got {got}")
        gap = (drops - maps.contributions.cpu().to(torch.float64)).abs().sum(1)
        return _relative(gap, drops.abs().sum(1), tiny)


def _total(maps: Tensor) -> Tensor:
    return maps.to(torch.float64).sum((1, 2)).cpu()


def _relative(value: Tensor, to: Tensor, tiny: Tensor, *, signed: bool = False) -> Tensor:
    quotient = (value if signed else value.abs()) / to.abs()
    return torch.where(to.abs() > tiny, quotient, torch.nan)


def _ledger(maps: Maps) -> dict[str, Tensor]:
    """What ReLU, upsampling (counted per native cell) and normalisation each add to the map's sum."""
    cell = maps.raw[0].numel() / maps.case.pixels
    rectified = rectify(maps.raw)
    grown = upsample(rectified, maps.case.size)
    sums = [_total(maps.raw), _total(rectified), cell * _total(grown), cell * _total(normalise(grown))]
    names = ("relu", "upsampling", "normalisation")
    return {name: after - before for name, before, after in zip(names, sums, sums[1:], strict=False)}
