"""AOPC, ABPC and pixel-flipping: other numbers from the curves of deletion and insertion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.curves import Deletion, Insertion, auc
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.probing.probes import Blank
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Count


def aopc(scores: Tensor) -> Tensor:
    """Area over the perturbation curve, 1/(L + 1) Σ_{k=0…L} [f(x⁰) − f(xᵏ)] (B), by the scores f(x⁰), …, f(x^L)
    (B×(L+1)) as the most relevant pixels leave first. At most f(x⁰), higher is better (Samek et al. 2017).

    >>> aopc(torch.tensor([[1.0, 0.5, 0.0]])).item()
    0.5
    """
    scores = scores.double()
    return (scores[:, :1] - scores).mean(1)


def pixel_flipping(scores: Tensor) -> Tensor:
    """The mean score along the flips, 1/L Σ_{k=1…L} f(xᵏ) (B), by the scores f(x⁰), …, f(x^L) (B×(L+1)) as the most
    relevant pixels leave first. In [0, 1] for probabilities, lower is better (Bach et al. 2015).

    >>> pixel_flipping(torch.tensor([[1.0, 0.5, 0.0]])).item()
    0.25
    """
    return scores[:, 1:].double().mean(1)


def abpc(morf: Tensor, lerf: Tensor, fractions: Tensor, lerf_fractions: Tensor | None = None) -> dict[str, Tensor]:
    """Area between the perturbation curves, ∫ f(LeRF) ds − ∫ f(MoRF) ds by trapezoids (Samek et al. 2017). `morf` and
    `lerf` (B×n) are the scores as the most, and as the least relevant pixels leave first, over the fractions s of the
    pixels that left (n, rising from 0 to 1; those of `lerf` are the same unless they are given). Columns of B values:

    - `abpc`: the area between them, in [−1, 1] for probabilities, higher is better
    - `lerf` and `morf`: the area under each, in [0, 1] for probabilities, higher and lower is better

    >>> morf, lerf = torch.tensor([[1.0, 0.25, 0.0]]), torch.tensor([[1.0, 0.75, 0.0]])
    >>> {name: value.item() for name, value in abpc(morf, lerf, torch.tensor([0.0, 0.5, 1.0])).items()}
    {'abpc': 0.25, 'lerf': 0.625, 'morf': 0.375}
    """
    over, under = auc(lerf, fractions if lerf_fractions is None else lerf_fractions), auc(morf, fractions)
    return {"abpc": over - under, "lerf": over, "morf": under}


@dataclass(frozen=True, kw_only=True)
class MostRelevantFirst(Metric):
    """A number from f(xᵏ), k = 0 … L: the score with k·N/L of the pixels (rounded up) at the baseline, most relevant
    first (MoRF). L is `steps`; x⁰ is the image, x^L the baseline.

    It shares its points with `Deletion`: with equal steps and baseline the model is asked once for both. The columns
    `confidence` and `drift` say how far the altered images are from what the network knows (`functional.drift`).
    Like the area of `Deletion`, it may not tell a small blur of a map.
    """

    steps: Count = 32
    baseline: Any = "black"
    score: ScoreKind = "probability"
    undefined = NO_DRIFT

    @property
    def _morf(self) -> Deletion:
        return Deletion(steps=self.steps, baseline=self.baseline, score=self.score)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self._morf.probes(layer, pixels)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line | None:
        return self._morf.line(case, maps, answers)

    def drift(self, answers: Answers) -> dict[str, Tensor]:
        """How far the images of its curves are from what the network knows."""
        return drift_of(*(answer for probe, answer in answers.items() if not isinstance(probe, Blank)))


@dataclass(frozen=True, kw_only=True)
class AOPC(MostRelevantFirst):
    """The mean fall of the score while the most relevant pixels leave, of `steps` + 1 points f(xᵏ); at most f(x⁰),
    higher is better (Samek et al. 2017).

    The authors replace the first 100 patches of 9×9 pixels by uniform noise; here each step replaces the same number of
    pixels, and the steps go on to the end. See `MostRelevantFirst` for xᵏ.
    """

    name = "aopc"
    main = "aopc"
    better = {"aopc": "higher"}
    range = {"aopc": (-1, 1), **DRIFT}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"aopc": aopc(self._morf.line(case, maps, answers).y), **self.drift(answers)}


@dataclass(frozen=True, kw_only=True)
class PixelFlipping(MostRelevantFirst):
    """The mean score while the most relevant pixels leave, without that of the image itself; in [0, 1] for
    probabilities, lower is better (Bach et al. 2015).

    The authors draw the curve f(xᵏ) and flip the pixels of binary digits; here pixels take the baseline's value, and
    the curve is averaged. The image itself is no flip and does not count (nor does it in quantus' curve). On one image
    this orders maps as `AOPC` does, since AOPC = L/(L + 1)·(f(x⁰) − this). See `MostRelevantFirst` for xᵏ.
    """

    name = "pixel-flipping"
    main = "mean"
    better = {"mean": "lower"}
    range = {"mean": (0, 1), **DRIFT}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"mean": pixel_flipping(self._morf.line(case, maps, answers).y), **self.drift(answers)}


@dataclass(frozen=True, kw_only=True)
class ABPC(MostRelevantFirst):
    """Area between the perturbation curves (Samek et al. 2017; as symmetric relevance gain, Blücher et al. 2024): what
    the score keeps as the least relevant pixels leave first (LeRF), beyond what it keeps as the most relevant ones do
    (MoRF). Columns, for probabilities:

    - `abpc`: `lerf` − `morf`, in [−1, 1], higher is better
    - `lerf`, `morf`: the areas under the curves, in [0, 1]; of `lerf` higher is better, of `morf` lower is better

    LeRF is the insertion curve with the same baseline read backwards, over the true shares N − ⌈iN/L⌉ of pixels
    removed, so its points are those of `Insertion`. The baseline's own effect is in both areas and cancels: a random
    order has 0 on average.
    """

    name = "abpc"
    main = "abpc"
    better = {"abpc": "higher", "lerf": "higher", "morf": "lower"}
    range = {"abpc": (-1, 1), "lerf": (0, 1), "morf": (0, 1), **DRIFT}

    @property
    def _lerf(self) -> Insertion:
        return Insertion(steps=self.steps, baseline=self.baseline, score=self.score)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return tuple(dict.fromkeys((*self._morf.probes(layer, pixels), *self._lerf.probes(layer, pixels))))

    def line(self, case: Case, maps: Maps, answers: Answers) -> None:
        """None: deletion and insertion draw the two curves."""

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        morf, inserted = (each.line(case, maps, answers) for each in (self._morf, self._lerf))
        areas = abpc(morf.y, inserted.y.flip(1), morf.x, 1 - inserted.x.flip(0))
        return {**areas, **self.drift(answers)}
