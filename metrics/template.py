"""A template: the pattern that a method's maps have in common, whatever the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.probing.pool import Pool
from camfaith.metrics.probing.probes import Fill, Subject
from camfaith.metrics.probing.redrawn import Explained, before_and_after
from camfaith.metrics.similarity import pearson


def template_score(maps: Tensor, others: Tensor) -> dict[str, Tensor]:
    """How much of a map M (B×h×w) is the mean map of K other images (B×K×h×w) (own definition). Each of these counts
    alike: the template is T = mean_k M_k/‖M_k − mean M_k‖, over the maps that are neither constant nor hold NaN.
    Columns of B values, which describe:

    - `template`: Pearson's correlation of M with T, in [−1, 1]; NaN where M is constant, or T, or there is no M_k
    - `nearest`: the highest correlation of M with any M_k, in [−1, 1]
    - `others`: how many M_k there are

    >>> maps = torch.tensor([[[1.0, 0], [0, 0]]])
    >>> others = torch.tensor([[[[1.0, 0], [0, 0]], [[0, 1.0], [0, 0]], [[2, 2], [2, 2]]]])
    >>> {name: round(value.item(), 3) for name, value in template_score(maps, others).items()}
    {'template': 0.577, 'nearest': 1.0, 'others': 2.0}
    """
    own, given = maps.double().flatten(1), others.double().flatten(2)
    rho = pearson(own[:, None], given)
    told = ~pearson(given, given).isnan()
    centred = given - given.mean(2, keepdim=True)
    unit = torch.where(told[..., None], centred / centred.norm(dim=2, keepdim=True), 0.0)
    return {
        "template": pearson(own, unit.sum(1)),
        "nearest": torch.where(rho.isnan().all(1), torch.nan, rho.nan_to_num(-torch.inf).amax(1)),
        "others": told.sum(1).double(),
    }


@dataclass(frozen=True)
class OfOthers(Explained):
    """The pictures of a pool, to be explained for the image's own class, by other random choices than the image."""

    pool: Pool

    def count(self, pixels: int) -> int:
        return self.pool.pictures

    def seed_of(self, subject: Subject) -> int:
        return super().seed_of(subject) ^ 1

    def fill(self, subject: Subject) -> Fill:
        pictures = self.pictures(subject.image)

        def fill(start: int, stop: int, out: Tensor) -> None:
            out.copy_(pictures[start:stop])

        return fill

    def pictures(self, image: Tensor) -> Tensor:
        """The pictures (K×3×H×W) beside an image (3×H×W), which takes the place of those that could not be read."""
        found = self.pool.images(image)
        return torch.cat([found, image.expand(self.pool.pictures - len(found), *image.shape)])


@dataclass(frozen=True, kw_only=True)
class TemplateScore(Metric):
    """How much of a map is a fixed pattern, which the method's maps of other images have too (own definition). `pool`
    says how many pictures of the data set are explained for the image's class, in a suite, or gives these pictures
    (K×3×H×W), where the metric is called alone. One that is the image itself is left out. Columns:

    - `template`: Pearson's correlation of the map with the mean of the others, each of which counts alike, in [−1, 1];
      a map that is the same whatever the image has 1
    - `nearest`: the highest correlation with any of them, in [−1, 1]
    - `others`: how many there are; constant maps are left out

    The maps are those after the method's ReLU, where it has one, on their own grid. They describe: pictures that are
    taken alike, as those of eyes and faces, have evidence in the same places. It cannot tell whether a pattern is the
    data's or the method's. For the others a method's random choices have another seed: the control `random` has about
    0, and `center-gaussian`, a pattern alone, 1; so has `oracle`, which shows the image's own mask for the others too.
    """

    pool: Any = 8
    name = "template-score"
    main = "template"
    better = {}
    range = {"template": (-1, 1), "nearest": (-1, 1), "others": (0, torch.inf)}
    undefined = "the map is constant, or no other picture has a map that varies"
    exempt = {
        "nan-answer": "all images are compared with the same pictures: a network that fails on these fails for all"
    }

    @property
    def _others(self) -> OfOthers:
        return OfOthers(self.pool)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._others,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        before, others = before_and_after(maps, answers[self._others].explanations)
        itself = torch.stack([(self._others.pictures(image) == image).flatten(1).all(1) for image in case.images])
        return template_score(before, torch.where(itself[..., None, None], torch.nan, others))
