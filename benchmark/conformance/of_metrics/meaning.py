"""What a metric must say where the right answer is known. Each check raises `Broken` if a metric fails it, and
`NotApplicable` if the check makes no sense for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate
from camfaith.benchmark.conformance.of_metrics.leaks import Overheard
from camfaith.benchmark.conformance.of_metrics.scenes import noise, truth
from camfaith.benchmark.conformance.trials import Trial
from camfaith.metrics.probing.baselines import filling
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable

_DESCRIBES = "neither more nor less of it is better"


def direction(candidate: Candidate, trial: Trial) -> None:
    """Where it is known what each pixel is worth, the map that says so is better than noise and than other images'
    maps, on average, in every column that judges."""
    if not candidate.better:
        raise NotApplicable(_DESCRIBES)
    scene = truth(trial)
    added = scene.contributions
    noisy = replace(scene, maps=noise(trial).other, contributions=None if added is None else 0 * added)
    foreign = replace(scene, maps=scene.maps.roll(1, 0), contributions=None if added is None else added.roll(1, 0))
    true, *wrong = (candidate.judged(each) for each in (scene, noisy, foreign))
    for column, way in candidate.better.items():
        right = float(true[column].nanmean())
        other = float(torch.cat([each[column] for each in wrong]).nanmean())
        if right != right and column == candidate.main:
            raise Broken(f"{column!r} has no value for the true map")
        if (right - other) * (1 if way == "higher" else -1) <= 1e-9:
            raise Broken(f"{column!r}, better {way}, is {right:.3g} for the true map and {other:.3g} for others")


def opposite_map(candidate: Candidate, trial: Trial) -> None:
    """What speaks for the class is told from what speaks against it: where it is known, the map that says so and its
    opposite have other values in the main column."""
    if candidate.main not in candidate.better:
        raise NotApplicable(_DESCRIBES)
    scene = truth(trial)
    pair = [candidate.judged(each)[candidate.main] for each in (scene, replace(scene, maps=-scene.maps))]
    if float((pair[0] - pair[1]).abs().nan_to_num(1).mean()) <= 1e-9:
        raise Broken(f"{candidate.main!r} is {float(pair[0].nanmean()):.3g} for the true map and for its opposite")


def nan_answer(candidate: Candidate, trial: Trial) -> None:
    """Where the network gives NaN on altered images of one image, what depends on them is NaN, for this image alone."""
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
    alone = candidate.judged(replace(scene.select(range(1, len(scene))), network=failing))
    for column, values in found.items():
        if bool((values[1:].isnan() & ~alone[column].isnan()).any()):
            raise Broken(f"{column!r} is NaN for another image, too")


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

    def hear(self, judge: Callable[..., Any], *given: Any) -> Any:
        found = judge(*given)
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
    fillings = [filling(baseline, image, seed) for image, seed in zip(scene.images, scene.seeds, strict=True)]

    def without(gone: Tensor) -> Tensor:
        own = [fill(~plane) for fill, plane in zip(fillings, gone, strict=True) if fill is not None]
        return torch.cat(own) if own else torch.where(gone, blank, scene.images)

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
        if not _near(found, expected := score(without(gone))):
            raise Broken(
                f"with {round(count)} of {order[0].numel()} pixels changed the score is {float(expected[0]):.6g}, "
                f"and the curve is {float(found[0]):.6g} there"
            )


def _near(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-6, atol=1e-9)
