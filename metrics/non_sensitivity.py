"""Non-sensitivity: whether a map is zero where the network does not look, and only there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps
from camfaith.metrics.drift import DRIFT, UNKNOWN
from camfaith.metrics.subsets import SubsetMetric


def non_sensitivity(
    maps: Tensor, drops: Tensor, noise: Tensor | float = 0.0, tolerance: float = 0.0
) -> dict[str, Tensor]:
    """|A₀ △ X₀|/L: the share of L features that either a map or the network calls irrelevant, but not both (Nguyen &
    Rodríguez Martínez 2020). A₀ holds the features to which a map M gives no more than `tolerance` of its greatest |M|,
    X₀ those without which the score loses no more than `tolerance` of the greatest |f(x) − f(x without i)|, or than
    `noise` (a number, or B); M and these drops are B×L. Columns of B values in [0, 1], NaN where either holds NaN:

    - `disagree`: the share, lower is better
    - `ignored`, `invented`: the shares in A₀ alone, and in X₀ alone, which describe

    >>> found = non_sensitivity(torch.tensor([[0, 0, 2, -1]]), torch.tensor([[0, 3, -5, 0]]))
    >>> {name: value.item() for name, value in found.items()}
    {'disagree': 0.5, 'ignored': 0.25, 'invented': 0.25}
    """
    M, e = maps.double().abs(), drops.double().abs()
    noise = torch.as_tensor(noise, dtype=torch.float64, device=e.device).reshape(-1, 1)
    A0, X0 = tolerance * M.amax(1, keepdim=True) >= M, (tolerance * e.amax(1, keepdim=True)).maximum(noise) >= e
    known = (M + e).isfinite().all(1)
    sets = {"disagree": A0 ^ X0, "ignored": A0 & ~X0, "invented": X0 & ~A0}
    return {name: found.double().mean(1).where(known, torch.nan) for name, found in sets.items()}


@dataclass(frozen=True, kw_only=True)
class NonSensitivity(SubsetMetric):
    """Whether a map is zero for the features that the network does not use, and only for these (Nguyen & Rodríguez
    Martínez 2020); see `SubsetMetric`. The map is that after the method's ReLU, where it has one.

    A feature's worth counts as zero up to `tolerance` of the map's greatest, and what the class's `score` loses without
    the feature up to `tolerance` of the greatest loss, or to the network's rounding. Columns:

    - `disagree`: the share of the features that either the map or the network calls irrelevant, but not both; in [0,
      1], lower is better. The authors count them
    - `ignored`, `invented`: the share that the map alone, and the network alone, calls irrelevant, in [0, 1]
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    It cannot tell apart maps that are nowhere zero, as those without a ReLU, nor a map from its opposite. A feature
    that looks like the `baseline`, as the black around an eye, counts as one that the network does not use. Where there
    are more than `subsets` features, so many are drawn.
    """

    tolerance: Annotated[float, Ge(0), Lt(1)] = 0.01
    name = "non-sensitivity"
    main = "disagree"
    better = {"disagree": "lower"}
    range = {**dict.fromkeys(("disagree", "ignored", "invented"), (0, 1)), **DRIFT}
    undefined = f"the network failed on an altered image; {UNKNOWN}"
    exempt = {"opposite-map": "it compares sizes: the opposite map has the same"}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        shown = replace(maps, raw=maps.saliency, original=None)

        def share(column: str) -> Tensor:
            def compare(worth: Tensor, members: Tensor, drops: Tensor, noise: Tensor) -> Tensor:
                return non_sensitivity(worth[:, members.long().argmax(1)], drops, noise, self.tolerance)[column]

            return self.compared(compare, case, shown, answers)[:, 0]

        columns = {column: share(column) for column in ("disagree", "ignored", "invented")}
        return {**columns, **self.drift(case, answers)}
