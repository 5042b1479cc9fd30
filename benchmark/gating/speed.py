"""How long a method takes beside another: in one process, in turns, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from camfaith.benchmark.gating.naming import entry_of
from camfaith.benchmark.suite.declaration import MethodEntry, Suite
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import open_arm, open_dataset, open_model
from camfaith.methods import find
from camfaith.models import survey
from camfaith.models.contract import Bound
from camfaith.models.speed.counting import Calls, counting
from camfaith.models.speed.setup import exact_arithmetic

IMAGES, ROUNDS, SECONDS = 8, 5, 0.5
"""In a batch; at least so many rounds, and at least so long."""


@dataclass(frozen=True)
class Speed:
    """A method beside its peer on one network: seconds of a batch of images, and calls of one image.

    `ratio` is the median over all rounds of the method's seconds to its peer's in the same round.
    """

    method: str
    peer: str
    ratio: float
    seconds: float
    peer_seconds: float
    calls: Calls
    peer_calls: Calls
    work: Callable[[], object]
    """Explains the batch once more by the method."""

    def __str__(self) -> str:
        calls = "; ".join(
            f"{label} {made.forwards} forward and {made.backwards} backward"
            for label, made in ((self.method, self.calls), (self.peer, self.peer_calls))
        )
        return f"{self.method} takes {self.ratio:.2f} times as long as {self.peer}; calls of one image: {calls}"


@exact_arithmetic()
def speed(method: Any, peer: Any, *, suite: Any = "quick", data: Any = None) -> Speed:
    """Both methods, in turns, on the first images of a suite's first data set and its first network, warm.

    Each makes all that a map takes: the forward, the backward where it has one, and its own calls. Methods are given as
    in `gate`.
    """
    asked = Suite.of(suite, data=data)
    entries = [MethodEntry.model_validate(entry_of(each)) for each in (method, peer)]
    classifier = open_model(asked.model[0], asked.suite.device)
    dataset = open_dataset(asked.dataset[0].model_copy(update={"limit": IMAGES}), asked.suite)
    read = [classifier.prepare(dataset[index].image) for index in range(len(dataset))]
    images = classifier.place(torch.stack([image for image in read if image.shape == read[0].shape]))
    layers = survey(classifier, images[:1])
    names = labels(entries, find)
    bound = [open_arm(label, entry, classifier, layers) for label, entry in zip(names, entries, strict=True)]
    works = [_work(each, images) for each in bound]
    calls = [_calls(each, images[:1]) for each in bound]
    for work in works:
        work()
    rounds: list[tuple[float, float]] = []
    while len(rounds) < ROUNDS or sum(map(sum, rounds)) < SECONDS:
        turn = len(rounds) % 2  # who goes first
        times = [0.0, 0.0]
        for place in (turn, 1 - turn):
            times[place] = _seconds(works[place], images.device)
        rounds.append((times[0], times[1]))
    return Speed(
        method=names[0],
        peer=names[1],
        ratio=median(mine / theirs for mine, theirs in rounds),
        seconds=median(mine for mine, _ in rounds),
        peer_seconds=median(theirs for _, theirs in rounds),
        calls=calls[0],
        peer_calls=calls[1],
        work=works[0],
    )


def _work(bound: Bound, images: Tensor) -> Callable[[], object]:
    seeds = torch.arange(len(images))

    def work() -> object:
        evidence = bound.classifier.evidence(
            images, None, bound.needed_layers, gradients=bound.goes_back, seeds=seeds[: len(images)]
        )
        return bound.explain(evidence)

    return work


def _calls(bound: Bound, image: Tensor) -> Calls:
    with counting(bound.classifier.network) as made:
        _work(bound, image)()
    return Calls(made.forwards, made.backwards)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
