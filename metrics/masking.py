"""Average drop: how the class's probability changes when only what the map shows stays in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient, rounding
from camfaith.metrics.probing.probes import OneImage, Subject


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


@dataclass(frozen=True)
class Masked(OneImage):
    """The image times its heat map, x ⊙ M̂. Methods with equal heat maps share it."""

    reads = "displayed"

    def altered(self, subject: Subject) -> Tensor:
        return subject.image * subject.read("displayed").to(subject.image)


@dataclass(frozen=True, kw_only=True)
class AverageDrop(Metric):
    """How the class's probability changes when the image is multiplied by its heat map, the display map M̂ in [0, 1]
    (Chattopadhay et al. 2018; `gain`: Zhang et al. 2024). Columns in [0, 1], whose mean over images is what the papers
    give:

    - `drop`: the share of the probability that is lost, lower is better
    - `increase`: 1 where it rises by more than the network's rounding, else 0; higher is better
    - `gain`: the share won of what it lacked to 1, higher is better
    - `shown`: the mean of M̂, how much of the image is left

    A map that shows everything loses nothing, so read the drop beside `shown`: a constant positive map has the drop 0
    by definition, and a map that is nowhere positive has the drop of a black image.

    M̂ is rectified for every method, as every heat map is: a negative factor would invert the image. A signed map is
    rectified on its own grid, before it is upsampled.
    """

    name = "average-drop"
    main = "drop"
    better = {"drop": "lower", "increase": "higher", "gain": "higher"}
    range = dict.fromkeys(("drop", "increase", "gain", "shown"), (0, 1))
    undefined = "there is no probability to lose (Y = 0) or, for the gain, none to win (Y = 1)"
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (Masked(),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[Masked()]
        noise = 16 * rounding(case, answer, "probability")[:, 0]
        columns = average_drop(case.whole("probability"), answer.of("probability")[:, 0], noise)
        return {**columns, "shown": maps.displayed.mean((1, 2))}
