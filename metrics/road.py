"""ROAD: removed pixels are filled in from their neighbours, so that the hole itself tells the model nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt, MinLen
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.probing.baselines import Linear
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject, along
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import NotNegative, Seed

Percentiles = Annotated[tuple[Annotated[float, Gt(0), Lt(100)], ...], MinLen(1)]


def road(morf: Tensor, lerf: Tensor) -> dict[str, Tensor]:
    """Remove and debias (Rong et al. 2022), by the scores (B×n) with the most (MoRF) and with the least relevant pixels
    (LeRF) filled in, at n percentiles. Columns of B values, means over the percentiles:

    - `road`: (f(LeRF) − f(MoRF))/2, in [−1/2, 1/2] for probabilities, higher is better
    - `lerf` and `morf`: f(LeRF), higher is better, and f(MoRF), lower is better, in [0, 1] for probabilities

    >>> found = road(torch.tensor([[0.4, 0.2]]), torch.tensor([[0.9, 0.7]]))
    >>> {name: round(value.item(), 6) for name, value in found.items()}
    {'road': 0.25, 'lerf': 0.8, 'morf': 0.3}
    """
    lerf, morf = lerf.double().mean(1), morf.double().mean(1)
    return {"road": (lerf - morf) / 2, "lerf": lerf, "morf": morf}


@dataclass(frozen=True)
class Imputed(ImageProbe):
    """The image with p % of its pixels (rounded up) filled in from the others, for each p of `percentiles`: the most
    relevant ones (`kept="rest"`, MoRF) or the least relevant ones (`kept="top"`, LeRF).
    """

    kept: Literal["rest", "top"]
    percentiles: tuple[float, ...]
    baseline: Linear
    reads = "ranks"

    def count(self, pixels: int) -> int:
        return len(self.percentiles)

    def removed(self, pixels: int) -> tuple[int, ...]:
        """How many pixels are gone at each percentile, exactly: ⌈pN/100⌉."""
        counts = tuple(ceil(Fraction(str(p)) * pixels / 100) for p in self.percentiles)
        if max(counts) >= pixels:
            raise ValueError(f"percentile {self.percentiles[-1]:g} leaves none of {pixels} pixels to fill in from")
        return counts

    def fill(self, subject: Subject) -> Fill:
        removed = torch.tensor(self.removed(subject.case.pixels), device=subject.image.device)
        if self.kept == "top":
            removed = subject.case.pixels - removed
        return along(subject, self.kept, removed, self.baseline)


@dataclass(frozen=True, kw_only=True)
class ROAD(Metric):
    """Remove and debias (Rong et al. 2022): the score with the least relevant pixels filled in from their neighbours,
    against that with the most relevant ones filled in.

    Exactly ⌈pN/100⌉ pixels are removed for each p of `percentiles`: they become the weighted mean of their neighbours
    (see `imputation`) plus N(0, σ²) for each colour, σ = `noise`, in units of the image (whose range is [0, 1], before
    the network normalises it). The noise is drawn once for each image, from its seed and `seed`, and is the same for
    all methods and percentiles. Columns are means over the percentiles, for probabilities:

    - `road`: half of `lerf` − `morf`, in [−1/2, 1/2], higher is better. This is pytorch-grad-cam's ROADCombined (whose
      percentiles are the shares kept), except for tied pixels
    - `lerf`: the score with the least relevant p % removed, in [0, 1], higher is better
    - `morf`: the score with the most relevant p % removed, in [0, 1], lower is better
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    The values depend on the order of the pixels alone, which a small blur of a map hardly changes: they cannot tell it,
    or even prefer it.

    The paper gives the accuracy at each p, over a data set; here it is the target's `score`, one image at a time.
    """

    percentiles: Percentiles = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    noise: NotNegative = 0.01
    score: ScoreKind = "probability"
    seed: Seed = 0
    name = "road"
    main = "road"
    better = {"road": "higher", "lerf": "higher", "morf": "lower"}
    range = {"road": (-0.5, 0.5), "lerf": (0, 1), "morf": (0, 1), **DRIFT}
    undefined = NO_DRIFT

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settle(percentiles=tuple(sorted(set(self.percentiles))))

    def _imputed(self, kept: Literal["rest", "top"]) -> Imputed:
        return Imputed(kept, self.percentiles, Linear(self.noise, self.seed))

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        asked = self._imputed("rest"), self._imputed("top")
        asked[0].removed(pixels)  # refuses images that are too small, before anything is asked
        return asked

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        """The MoRF curve, from the image itself onwards."""
        morf = self._imputed("rest")
        x = torch.tensor((0, *morf.removed(case.pixels)), dtype=torch.float64) / case.pixels
        y = torch.cat([case.whole(self.score)[:, None], answers[morf].of(self.score)], 1)
        return Line(x, y, "fraction of pixels removed and filled in", self.score)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        told = [answers[self._imputed(kept)] for kept in ("rest", "top")]
        return {**road(*(each.of(self.score) for each in told)), **drift_of(*told)}
