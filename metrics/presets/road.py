"""`road`: Remove and Debias (Rong et al. 2022) as tleemann/road_evaluation runs it on CIFAR-10, without retraining.

It gives the accuracy on a data set with a share of each image's pixels filled in from their neighbours; here each image
has its row, 1 or 0 at each share, and the mean over a data set is the accuracy, where the explained class is the label
(`target = "label"`). The authors add 10⁻⁴·N(0, 1) to the map to break ties, drawn once for a data set, which also swaps
pixels of nearly equal value: so it is done here, with one draw for all images of a size. Their noise is drawn anew at
each call; here once for each image, from its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Probe
from camfaith.metrics.presets.protocol import Protocol, places, stretched
from camfaith.metrics.probing.baselines import Linear
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.models.settings import NotNegative

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
_JITTER = 1e-4


def jittered(saliency: Tensor) -> Tensor:
    """The place of each pixel of a map (H×W), 0 for the highest, after it was stretched to [0, 1] and jittered."""
    jitter = torch.randn(saliency.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return places(stretched(saliency.double(), 1e-5) + _JITTER * jitter.to(saliency.device))


@dataclass(frozen=True)
class FilledIn(ImageProbe):
    """The image with its most relevant pixels filled in from the others (`kept="rest"`), ⌊pN⌋ of them, or all but its
    ⌊pN⌋ most relevant ones (`kept="top"`), for each share p."""

    kept: Literal["rest", "top"]
    noise: float
    reads = "saliency"
    all_logits = True

    def count(self, pixels: int) -> int:
        return len(SHARES)

    def fill(self, subject: Subject) -> Fill:
        case = subject.case
        filled = Linear(self.noise).filling(subject.image, case.seeds[subject.index])
        ranks = jittered(subject.read("saliency"))
        counts = torch.tensor([int(case.pixels * share) for share in SHARES], device=ranks.device)[:, None, None]

        def fill(start: int, stop: int, out: Tensor) -> None:
            gone = ranks < counts[start:stop] if self.kept == "rest" else ranks >= counts[start:stop]
            out.copy_(filled(~gone))

        return fill


@dataclass(frozen=True, kw_only=True)
class ROAD(Protocol):
    """`run_road` with `NoisyLinearImputer`: whether the class stays the most probable as 10, 20, 30, 40, 50, 70 and
    90 % of the pixels are filled in, the most relevant ones (MoRF), or as only so many stay (LeRF; Rong et al. 2022).
    Columns, means over the shares, in [0, 1]:

    - `morf`: lower is better
    - `lerf`: higher is better

    The noise is N(0, σ²) for each colour, σ = `noise`, before normalisation.
    """

    noise: NotNegative = 0.01
    name = "road"
    main = "morf"
    better = {"morf": "lower", "lerf": "higher"}
    range = {"morf": (0, 1), "lerf": (0, 1)}
    undefined = "there is no answer"

    def _asked(self, kept: Literal["rest", "top"]) -> FilledIn:
        return FilledIn(kept, self.noise)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self._asked("rest"), self._asked("top")

    def _right(self, case: Case, answers: Answers, kept: Literal["rest", "top"]) -> Tensor:
        """Whether the class is the most probable (B×shares), 1 or 0."""
        logits = answers[self._asked(kept)].logits
        assert logits is not None
        right = (logits.argmax(2) == case.targets[:, None]).double()
        return right.masked_fill(logits.isnan().any(2), torch.nan)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        x = torch.tensor(SHARES, dtype=torch.float64)
        return Line(x, self._right(case, answers, "rest"), "fraction of pixels removed and filled in", "accuracy")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"morf": self._right(case, answers, "rest").mean(1), "lerf": self._right(case, answers, "top").mean(1)}
