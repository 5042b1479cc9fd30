"""Signs: does the top of a map speak for the class, and its bottom against it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject


def signed_removal(maps: Tensor, z: Tensor, without_top: Tensor, without_bottom: Tensor) -> dict[str, Tensor]:
    """What the class's logit z loses without a map's top, and gains without its bottom (own definition). `maps` M are
    raw (B×H×W), the logits B each. Columns of B values:

    - `top_drop`: z(x) − z(x without the top), of any size, higher is better
    - `bottom_rise`: z(x without the bottom) − z(x), of any size, higher is better
    - `negative`: the share of pixels with M < 0, in [0, 1]; it describes

    >>> found = signed_removal(torch.tensor([[[2.0, -1.0]]]), *torch.tensor([[5.0], [3.0], [6.0]]))
    >>> {name: value.item() for name, value in found.items()}
    {'top_drop': 2.0, 'bottom_rise': 1.0, 'negative': 0.5}
    """
    z, without_top, without_bottom = z.double(), without_top.double(), without_bottom.double()
    negative = (maps < 0).double().mean((1, 2))
    return {"top_drop": z - without_top, "bottom_rise": without_bottom - z, "negative": negative}


@dataclass(frozen=True)
class Ends(ImageProbe):
    """The image without its most relevant pixels, a `share` of all (rounded, at least one), and then without as many of
    its least relevant."""

    share: float
    baseline: Baseline
    reads = "ranks"

    def count(self, pixels: int) -> int:
        return 2

    def fill(self, subject: Subject) -> Fill:
        order, pixels = subject.read("ranks"), subject.case.pixels
        removed = max(1, round(self.share * pixels))
        stays = torch.stack([order >= removed, order < pixels - removed])
        return subject.masked(self.baseline, lambda start, stop: stays[start:stop])


@dataclass(frozen=True, kw_only=True)
class SignedRemoval(Metric):
    """What the class's logit loses with a map's top, and gains without its bottom (red for, blue against; own
    definition).

    Top and bottom are the `share` of pixels where the map is highest and lowest; `baseline` replaces them. Columns, the
    differences in units of the logit, of any size:

    - `top_drop`: above 0 where the top speaks for the class, higher is better
    - `bottom_rise`: above 0 where the bottom speaks against the class, about 0 where nothing is said there; higher is
      better
    - `negative`: the share of pixels at which the raw map is below 0, in [0, 1]. It describes

    A map that ends in a ReLU is 0 wherever it is not for the class: its bottom is drawn from these pixels, and says
    whether what is shown as low speaks against.
    """

    share: Annotated[float, Gt(0), Lt(1)] = 0.2
    baseline: Any = "blur"
    name = "signed-removal"
    main = "top_drop"
    better = {"top_drop": "higher", "bottom_rise": "higher"}
    range = {"top_drop": (-inf, inf), "bottom_rise": (-inf, inf), "negative": (0, 1)}

    @property
    def _ends(self) -> Ends:
        return Ends(self.share, self.baseline)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._ends,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return signed_removal(maps.signed, case.whole("logit"), *answers[self._ends].logit.T)
