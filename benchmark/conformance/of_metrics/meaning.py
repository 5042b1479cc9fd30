"""What a metric must say where the right answer is known. Each check raises `Broken` if a metric fails it, and
`NotApplicable` if the check makes no sense for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate, must_equal
from camfaith.benchmark.conformance.of_metrics.leaks import Overheard
from camfaith.benchmark.conformance.of_metrics.scenes import noise, truth
from camfaith.benchmark.conformance.trials import Trial
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable


def direction(candidate: Candidate, trial: Trial) -> None:
    """Where it is known what each pixel is worth, the map that says so is better than noise and than other images'
    maps, and no worse than its opposite."""
    if not candidate.better:
        raise NotApplicable("neither more nor less of it is better")
    scene = truth(trial)
    source = torch.Generator().manual_seed(trial.seed)
    drawn = torch.rand(scene.maps.shape, generator=source, dtype=torch.float64)
    added = scene.contributions
    foreign = replace(scene, maps=scene.maps.roll(1, 0), contributions=None if added is None else added.roll(1, 0))
    noisy = replace(scene, maps=drawn, contributions=None if added is None else 0 * added)
    true, opposite = candidate.judged(scene), candidate.judged(replace(scene, maps=-scene.maps))
    wrong = [candidate.judged(each) for each in (foreign, noisy)]
    said = False
    for column, way in candidate.better.items():
        sign = 1 if way == "higher" else -1
        right, turned = float(true[column].nanmean()), float(opposite[column].nanmean())
        other = float(torch.cat([each[column] for each in wrong]).nanmean())
        if right != right or other != other:
            continue
        said = True
        if sign * (right - other) <= 1e-9 or sign * (right - turned) < -1e-9:
            raise Broken(
                f"{column!r}, better {way}, is {right:.3g} for the true map, {turned:.3g} for its opposite and "
                f"{other:.3g} for wrong ones"
            )
    if not said:
        raise Broken("the true map has no value")


def nan_answer(candidate: Candidate, trial: Trial) -> None:
    """Where the network gives NaN on altered images of one image, what depends on them is NaN, and other images keep
    their values."""
    scene = noise(trial)
    images = 0.05 * scene.images
    images[0] += 0.95
    scene = replace(scene, images=images, layer=None, contributions=None)
    expected = candidate.judged(scene)
    failing = _Failing(scene.network, images)
    found = candidate.judged(replace(scene, network=failing))
    if not failing.failed:
        raise NotApplicable("it asks about no altered image")
    for column in candidate.columns:
        value, usual = float(found[column][0]), float(expected[column][0])
        if value == value and value != usual:
            raise Broken(f"{column!r} is {value:.3g} where the network gave NaN, and {usual:.3g} otherwise")
    if not any(bool(values[0].isnan()) for values in found.values()):
        raise Broken("no value is NaN where the network gave NaN")
    others = [{name: values[1:] for name, values in each.items()} for each in (found, expected)]
    must_equal(others[0], others[1], "other images beside it and without it")


class _Failing(nn.Module):
    """Gives NaN for images that are bright and none of the known ones."""

    def __init__(self, network: nn.Module, known: Tensor) -> None:
        super().__init__()
        self.network, self.known, self.failed = network, known, 0

    def forward(self, images: Tensor) -> Tensor:
        same = (images[:, None] == self.known[None]).flatten(2).all(2).any(1)
        bad = ~same & (images.mean((1, 2, 3)) > 0.2)
        self.failed += int(bad.sum())
        return torch.where(bad[:, None], torch.nan, self.network(images))


class _Drawn(Overheard):
    """Keeps the curve."""

    curve: Any = None

    def judge(self, *given: Any) -> Any:
        found = super().judge(*given)
        self.curve = self._metric.line(*given) if hasattr(self._metric, "line") else None
        return found


def steps(candidate: Candidate, trial: Trial) -> None:
    """A curve of scores over pixels that leave, or enter, begins and ends with the image and its baseline, and its
    points are where they are said to be: at x, x·N pixels are changed."""
    scene, heard = noise(trial), _Drawn(candidate.make())
    candidate.judged(scene, heard)
    baseline = getattr(heard, "baseline", None)
    if heard.curve is None or heard.curve.y_label not in ("probability", "logit") or not callable(baseline):
        raise NotApplicable("it draws no curve of scores between an image and its baseline")
    x, y, classifier = heard.curve.x.double(), heard.curve.y.double(), Classifier.of(scene.network)
    blank = baseline(scene.images, scene.seeds)

    def score(images: Tensor) -> Tensor:
        found = classifier.head.of_target(classifier.scores(images), scene.targets)
        return found[:, 1].exp() if heard.curve.y_label == "probability" else found[:, 0]

    ends = {"image": score(scene.images), "baseline": score(blank)}
    for place, at, wanted in ((0, "first", 0.0), (-1, "last", 1.0)):
        if abs(float(x[place]) - wanted) > 1e-9:
            raise Broken(f"the {at} point lies at {float(x[place]):.3g}, not at {wanted:g}")
    deleting = _near(y[:, 0], ends["image"])
    first, last = ("image", "baseline") if deleting else ("baseline", "image")
    for at, values, name in (("first", y[:, 0], first), ("last", y[:, -1], last)):
        if not _near(values, ends[name]):
            raise Broken(f"the {at} point is {float(values[0]):.6g}, and the {name} has {float(ends[name][0]):.6g}")
    if not any(probe.reads == "ranks" for probe in candidate.asked(scene)):
        return
    order = scene.maps.flatten(1).argsort(1, descending=True).argsort(1).view_as(scene.maps)[:, None]
    for at, found in zip(x.tolist(), y.T, strict=True):
        count = at * order[0].numel()
        if abs(count - round(count)) > 1e-6:
            return  # a curve of its own points, drawn between them
        gone = order < round(count) if deleting else order >= round(count)
        if not _near(found, expected := score(torch.where(gone, blank, scene.images))):
            raise Broken(
                f"with {round(count)} of {order[0].numel()} pixels changed the score is {float(expected[0]):.6g}, "
                f"and the curve is {float(found[0]):.6g} there"
            )


def _near(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-6, atol=1e-9)
