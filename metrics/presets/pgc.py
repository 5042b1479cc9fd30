"""`pgc`: the metrics of pytorch-grad-cam 1.5 (Gildenblat) with `ClassifierOutputSoftmaxTarget`, as its README has it.

Equal to the library for the same heat map, but for the noise, which it draws anew at each call. OpenCV enlarges its own
heat maps, whose values differ by some 10⁻⁴; where thresholds meet such values, ARCC may by 10⁻³. A percentile there is
the share of pixels that stay, and a threshold says which: of equal pixels all leave or none, so that with a map that is
zero on 40 % of the image, 100 % are removed where 90 % were asked for. The system that the library solves then is
singular, and it finds 0 for every pixel, the network's mean colour, as is done here. Its drop is absolute, where the
paper that it names has it relative to the image's own probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Probe
from camfaith.metrics.presets.protocol import Protocol, Shown, restored, stretched
from camfaith.metrics.probing.baselines import Linear
from camfaith.metrics.probing.drawing import drawn_for_each
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.metrics.probing.redrawn import Explained
from camfaith.metrics.road import road
from camfaith.models.maps import rectify, upsample
from camfaith.models.settings import NotNegative

NINE = (10, 20, 30, 40, 50, 60, 70, 80, 90)
FOUR = (20, 40, 60, 80)


def heat_map(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """The library's `grayscale_cam` (B×H×W) of raw maps: stretched to [0, 1] before it is upsampled, and again after;
    a constant map is 0."""
    return stretched(upsample(stretched(rectify(raw), 1e-7), size), 1e-7)


@dataclass(frozen=True)
class HeatShown(Shown):
    """The image times its heat map."""

    def mask(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return heat_map(maps, size)


@dataclass(frozen=True)
class HeatShownAgain(HeatShown, Explained):
    """The same, to be explained anew."""


@dataclass(frozen=True)
class Thresholded(ImageProbe):
    """The image with its most (`kept="rest"`) or least relevant pixels filled in from the others, for each of
    `percentiles` of the heat map, or of 1 − it: those pixels that reach the percentile."""

    kept: Literal["rest", "top"]
    percentiles: tuple[int, ...]
    noise: float
    reads = "raw"

    def count(self, pixels: int) -> int:
        return len(self.percentiles)

    def _removed(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """Which pixels are removed (n×H×W, bool), by a raw map (h×w)."""
        heat = heat_map(raw[None].float(), size)[0]
        worth = heat if self.kept == "rest" else 1 - heat
        at = torch.tensor(self.percentiles, dtype=torch.float64, device=worth.device) / 100
        threshold = torch.quantile(worth.flatten().double(), at).to(worth)
        return worth >= threshold[:, None, None]

    def fill(self, subject: Subject) -> Fill:
        image, case = subject.image, subject.case
        seed = case.seeds[subject.index]
        filled = Linear(0.0).filling(image, seed)
        neutral = restored(torch.zeros_like(image), case)
        drawn = drawn_for_each(torch.randn, image[None], seed[None], 0)[0].to(image)
        noise = restored(self.noise * drawn, case) - neutral  # the library adds it after normalisation
        removed = self._removed(subject.read("raw"), case.size)

        def fill(start: int, stop: int, out: Tensor) -> None:
            gone = removed[start:stop]
            every = gone.flatten(1).all(1)[:, None, None, None]
            torch.add(torch.where(every, neutral, filled(~gone)), noise * gone[:, None], out=out)

        return fill


@dataclass(frozen=True, kw_only=True)
class AverageDrop(Protocol):
    """`DropInConfidence` and `IncreaseInConfidence`: the image after normalisation, times its heat map (after
    Chattopadhay et al. 2018). Columns:

    - `drop`: max(0, Y − O), in [0, 1], lower is better; it is absolute
    - `increase`: 1 where O > Y, by rounding too, else 0; higher is better
    """

    name = "average-drop"
    main = "drop"
    better = {"drop": "lower", "increase": "higher"}
    range = {"drop": (0, 1), "increase": (0, 1)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (HeatShown(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        change = answers[HeatShown()].of("probability")[:, 0] - case.whole("probability")
        return {"drop": (-change).clamp(min=0), "increase": (change > 0).double()}


@dataclass(frozen=True, kw_only=True)
class ROAD(Protocol):
    """`ROADCombined`, with `ROADLeastRelevantFirstAverage` and `ROADMostRelevantFirstAverage`, at the percentiles 10 to
    90 (after Rong et al. 2022). For probabilities, means over the percentiles:

    - `road`: half of `lerf` − `morf`, in [−1/2, 1/2], higher is better
    - `lerf`, `morf`: the score with the least, and with the most relevant pixels filled in; in [0, 1], higher, and
      lower is better

    The noise, N(0, σ²) with σ = `noise` after normalisation, is one draw for each image, from its seed.
    """

    noise: NotNegative = 0.01
    name = "road"
    main = "road"
    better = {"road": "higher", "lerf": "higher", "morf": "lower"}
    range = {"road": (-0.5, 0.5), "lerf": (0, 1), "morf": (0, 1)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return thresholded(NINE, self.noise)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return road(*(answers[probe].of("probability") for probe in thresholded(NINE, self.noise)))


def thresholded(percentiles: tuple[int, ...], noise: float) -> tuple[Thresholded, Thresholded]:
    """The two probes of ROAD, the most relevant pixels first."""
    return Thresholded("rest", percentiles, noise), Thresholded("top", percentiles, noise)


@dataclass(frozen=True, kw_only=True)
class Complexity(Protocol):
    """`Complexity`: the mean of the heat map, in [0, 1], lower is better (Poppi et al. 2021)."""

    name = "complexity"
    main = "complexity"
    better = {"complexity": "lower"}
    range = {"complexity": (0, 1)}
    exempt = dict.fromkeys(("zero-map", "constant-map"), "an empty map is the least complex one")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"complexity": heat_map(maps.raw, case.size).mean((1, 2))}


@dataclass(frozen=True, kw_only=True)
class Coherency(Protocol):
    """`Coherency`: (ρ + 1)/2 of the heat map and that of the image times it, after normalisation, where ρ is Pearson's
    correlation with 10⁻⁸ added to the denominator; in [0, 1], higher is better (Poppi et al. 2021). A constant map has
    1/2."""

    name = "coherency"
    main = "coherency"
    better = {"coherency": "higher"}
    range = {"coherency": (0, 1)}

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (HeatShownAgain(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        first, again = (
            heat_map(raw, case.size).flatten(1) for raw in (maps.raw, answers[HeatShownAgain()].explanations[:, 0])
        )
        first, again = (each - each.mean(1, keepdim=True) for each in (first, again))
        free = first.shape[1] - 1
        covariance = (first * again).sum(1) / free
        deviations = [(each.square().sum(1) / free).sqrt() for each in (first, again)]
        return {"coherency": (covariance / (deviations[0] * deviations[1] + 1e-8) + 1) / 2}


@dataclass(frozen=True, kw_only=True)
class ARCC(Protocol):
    """`ARCC`: the harmonic mean of `coherency`, 1 − `complexity` and twice `road` at the percentiles 20, 40, 60 and 80,
    which is cut to [0, 1]; 10⁻⁸ is added to each. In [0, 1], higher is better. The library names a paper of 2026 (arXiv
    2605.14641) and says geometric mean; its code takes the harmonic one. σ of the noise is `noise`."""

    noise: NotNegative = 0.01
    name = "arcc"
    main = "arcc"
    better = {"arcc": "higher"}
    range = {"arcc": (0, 1)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (*Coherency().probes(layer, pixels), *thresholded(FOUR, self.noise))

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        coherency = Coherency().judge(case, maps, answers)["coherency"]
        complexity = Complexity().judge(case, maps, answers)["complexity"]
        debiased = road(*(answers[probe].of("probability") for probe in thresholded(FOUR, self.noise)))["road"]
        parts = torch.stack([coherency, 1 - complexity, (2 * debiased).clamp(0, 1)])
        return {"arcc": 3 / (1 / (parts + 1e-8)).sum(0)}
