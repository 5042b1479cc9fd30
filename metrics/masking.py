"""Average drop and its kin: how the class's probability changes when only what a map shows stays, or goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.drift import DRIFT, UNKNOWN, drift_of
from camfaith.metrics.precision import quotient, rounding
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.probes import Fill, ImageProbe, OneImage, Subject, along


def average_drop(whole: Tensor, masked: Tensor, noise: Tensor | float = 0.0) -> dict[str, Tensor]:
    """What the class loses and wins when the image is multiplied by its heat map, by the probabilities Y = f(x) and O =
    f(x ⊙ M̂) (B each). Columns of B values:

    - `drop`: relu(Y − O)/Y, in [0, 1], lower is better (Chattopadhay et al. 2018). NaN where Y = 0
    - `increase`: 1 where O > Y by more than `noise`, else 0; higher is better (Chattopadhay et al. 2018)
    - `gain`: relu(O − Y)/(1 − Y), in [0, 1], higher is better (Zhang et al. 2024). NaN where Y = 1

    >>> found = average_drop(torch.tensor([0.8, 0.5]), torch.tensor([0.2, 0.75]))
    >>> {name: [round(one, 6) for one in value.tolist()] for name, value in found.items()}
    {'drop': [0.75, 0.0], 'increase': [0.0, 1.0], 'gain': [0.0, 0.5]}
    """
    Y, O = whole.double(), masked.double()  # noqa: E741
    rise = O - Y
    return {
        "drop": quotient((-rise).clamp(min=0), Y),
        "increase": torch.where(rise.isnan(), torch.nan, (rise > noise).double()),
        "gain": quotient(rise.clamp(min=0), 1 - Y),
    }


def relative_drop(whole: Tensor, altered: Tensor) -> Tensor:
    """The share of the class's probability that an altered image has lost, (Y − D)/Y, by the probabilities Y = f(x) and
    D = f(x') (B each). B values of at most 1, below 0 where the probability rises. NaN where Y = 0. Where x' is x ⊙
    (1 − M̂), what the heat map shows is lost, and higher is better (Jung & Oh 2021).

    >>> relative_drop(torch.tensor([0.8, 0.5]), torch.tensor([0.2, 0.75]))
    tensor([ 0.7500, -0.5000], dtype=torch.float64)
    """
    Y, D = whole.double(), altered.double()
    return quotient(Y - D, Y)


@dataclass(frozen=True)
class Masked(OneImage):
    """The image times its heat map, x ⊙ M̂. Methods with equal heat maps share it."""

    reads = "displayed"

    def altered(self, subject: Subject) -> Tensor:
        return subject.image * subject.read("displayed").to(subject.image)


@dataclass(frozen=True)
class Hidden(OneImage):
    """The image times the inverse of its heat map, x ⊙ (1 − M̂)."""

    reads = "displayed"

    def altered(self, subject: Subject) -> Tensor:
        return subject.image * (1 - subject.read("displayed").to(subject.image))


@dataclass(frozen=True)
class Top(ImageProbe):
    """The image's most relevant pixels, a share `area` of them all (rounded up), and the baseline elsewhere."""

    area: float
    baseline: Baseline
    reads = "ranks"

    def count(self, pixels: int) -> int:
        return 1

    def fill(self, subject: Subject) -> Fill:
        shown = ceil(Fraction(str(self.area)) * subject.case.pixels)
        return along(subject, "top", torch.tensor([shown], device=subject.image.device), self.baseline)


@dataclass(frozen=True, kw_only=True)
class AverageDrop(Metric):
    """How the class's probability changes when the image is multiplied by its heat map, the display map M̂ in [0, 1]
    (Chattopadhay et al. 2018; `gain`: Zhang et al. 2024). Columns, whose mean over images is what the papers give, in
    [0, 1] but for the drift:

    - `drop`: the share of the probability that is lost, lower is better
    - `increase`: 1 where it rises by more than the network's rounding, else 0; higher is better
    - `gain`: the share won of what it lacked to 1, higher is better
    - `shown`: the mean of M̂, how much of the image is left
    - `confidence`, `drift`: how far the altered image is from what the network knows (`functional.drift`)

    It prefers blurred maps: one that shows everything loses nothing, so that a constant positive map has the drop 0 by
    definition, and a map that is nowhere positive has the drop of a black image. Read it beside `shown`, or take
    `EqualAreaDrop`.

    M̂ is rectified for every method, as every heat map is: a negative factor would invert the image. A signed map is
    rectified on its own grid, before it is upsampled.
    """

    name = "average-drop"
    main = "drop"
    better = {"drop": "lower", "increase": "higher", "gain": "higher"}
    range = {**dict.fromkeys(("drop", "increase", "gain", "shown"), (0, 1)), **DRIFT}
    undefined = f"there is no probability to lose (Y = 0) or, for the gain, none to win (Y = 1); {UNKNOWN}"
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (Masked(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[Masked()]
        noise = 16 * rounding(case, answer, "probability")[:, 0]
        columns = average_drop(case.whole("probability"), answer.of("probability")[:, 0], noise)
        return {**columns, "shown": maps.displayed.mean((1, 2)), **drift_of(answer)}


@dataclass(frozen=True, kw_only=True)
class EqualAreaDrop(Metric):
    """`AverageDrop` by masks that all show the same area, so that a blurred map wins nothing by showing more (own
    definition, after Chattopadhay et al. 2018): the most relevant pixels, ⌈`area`·N⌉ of them, stay as they are, and the
    `baseline` replaces the rest. Columns:

    - `drop`: the share of the probability that is lost, in (−∞, 1], below 0 where it rises; lower is better
    - `ties`: the share of pixels that have the value of another, so that their order was drawn by lot, in [0, 1]
    - `confidence`, `drift`: how far the altered image is from what the network knows (`functional.drift`)

    It cannot tell how a map is graded within that area. For a score that adds up over pixels, no map has a lower drop
    than the true one. In small areas the shape of the mask counts for more than what it shows, and smooth masks win
    again.
    """

    area: Annotated[float, Gt(0), Lt(1)] = 0.5
    baseline: Any = "black"
    name = "equal-area-drop"
    main = "drop"
    better = {"drop": "lower"}
    range = {"drop": (-inf, 1), "ties": (0, 1), **DRIFT}
    undefined = f"there is no probability to lose (Y = 0); {UNKNOWN}"
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (Top(self.area, self.baseline),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[Top(self.area, self.baseline)]
        drop = relative_drop(case.whole("probability"), answer.of("probability")[:, 0])
        return {"drop": drop, "ties": maps.ties, **drift_of(answer)}


@dataclass(frozen=True, kw_only=True)
class AverageDropInDeletion(Metric):
    """The share of the class's probability that goes when what the heat map M̂ shows is taken out of the image, x ⊙ (1 −
    M̂) (ADD; Jung & Oh 2021). Columns:

    - `drop`: that share, in (−∞, 1], below 0 where the probability rises; higher is better
    - `confidence`, `drift`: how far the altered image is from what the network knows (`functional.drift`)

    It prefers maps that show much: one that shows everything leaves a black image and loses what there is to lose. Read
    it beside `AverageDrop`, by which the same map is perfect, and beside the controls.
    """

    name = "average-drop-in-deletion"
    main = "drop"
    better = {"drop": "higher"}
    range = {"drop": (-inf, 1), **DRIFT}
    undefined = f"there is no probability to lose (Y = 0); {UNKNOWN}"
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (Hidden(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[Hidden()]
        drop = relative_drop(case.whole("probability"), answer.of("probability")[:, 0])
        return {"drop": drop, **drift_of(answer)}
