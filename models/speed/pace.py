"""How a network that nobody measured goes fastest, learned from the work that it does anyway."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.classifier import Classifier
from camfaith.models.speed import tuning_cache
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.batches import out_of_memory
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning import wait_for

_SIZES = {"cpu": (1, 4, 16, 64), "cuda": (64, 256)}
_PIXELS = 64 * 64 * 64  # in a first batch: glibc maps activations above 32 MiB anew, and clears them, in each layer
_SMALL = 0.2  # seconds of work that teach nothing: trying gains nothing in a small call
_BRIEF = 0.002  # seconds; what a batch this short costs is not the network
_IMAGES = 8  # of each kind, at least, after a batch that warms up
_WORTH = 1.03  # a choice must be so much faster to be taken: anything less is noise

Forward = Callable[[Tensor], Tensor]
Trials = Generator[Setup, float, Setup]
"""Yields what to try, is sent its images per second, and returns the best."""


class Pace:
    """The layout and batch in which a network takes images of one size fastest, as far as its work has shown.

    Full batches of smaller and larger sizes, and of the other layout, are timed in turn, and the fastest is `kept`.
    Only the images that are asked about go through the network, each once, so that numbers differ by rounding alone.
    Little work teaches nothing, and goes in batches of the `first` size.
    """

    def __init__(
        self, first: int, sizes: Sequence[int], keep: Callable[[Setup], None], kept: Setup | None = None
    ) -> None:
        self._trials, self._keep, self._lock = trials(first, sizes), keep, Lock()
        self._trying, self._rates = next(self._trials), list[float]()
        self._seconds, self._shortest, self._learns = 0.0, float("inf"), False
        self._largest = Setup(max(sizes))
        self.kept = kept

    @property
    def setup(self) -> Setup:
        """The setup that was found, or one whose batches hold all that are to be tried."""
        return self.kept or self._largest

    def forward(self, classifier: Forward) -> Forward:
        """A classifier's forward, which cuts a batch into smaller ones and learns from them while there is need."""
        if self.kept:
            return classifier

        def forward(images: Tensor) -> Tensor:
            found, start = [], 0
            while start < len(images):
                setup = self.kept or self._trying
                part = images[start : start + setup.batch_size]
                try:
                    logits, seconds = _timed(classifier, part.contiguous(memory_format=setup.memory_format))
                except RuntimeError as error:
                    if out_of_memory(error):
                        self._learn(setup, 0.0)
                    raise
                found.append(logits.clone())  # a network may give the same memory again
                start += len(part)
                if len(part) == setup.batch_size and self._is_worth_it(seconds):
                    self._learn(setup, len(part) / seconds)
            return torch.cat(found)

        return forward

    def _is_worth_it(self, seconds: float) -> bool:
        """Whether enough work was seen, now that another full batch took so long; what has begun is brought to an end,
        since smaller batches may be brief."""
        self._seconds, self._shortest = self._seconds + seconds, min(self._shortest, seconds)
        self._learns = self._learns or (self._seconds > _SMALL and self._shortest > _BRIEF)
        return self._learns

    def _learn(self, setup: Setup, rate: float) -> None:
        """A full batch had that rate, 0 where it did not fit into memory."""
        with self._lock:
            if self.kept or setup is not self._trying:  # another thread was faster
                return
            self._rates.append(rate)
            if rate and len(self._rates) <= max(1, _IMAGES // setup.batch_size):
                return
            found, self._rates = median(self._rates[1:]) if rate else 0.0, []
            try:
                self._trying = self._trials.send(found)
            except StopIteration as end:
                self.kept = end.value
                self._keep(end.value)


def trials(first: int, sizes: Sequence[int]) -> Trials:
    """The `first` size, smaller and larger ones, each way until one is slower; then the other layout.

    The fastest size is taken, and the other layout where it is 3 % faster.
    """
    start = Setup(first)
    found = [replace(start, rate=(yield start))]
    for way in ([size for size in sizes if size < first][::-1], [size for size in sizes if size > first]):
        for size in way:
            tried = replace(start, batch_size=size)
            found.append(replace(tried, rate=(yield tried)))
            if found[-1].rate * _WORTH < max(one.rate for one in found):
                break
    best = max(found, key=lambda one: one.rate)
    other = replace(best, channels_last=not best.channels_last)
    other = replace(other, rate=(yield other))
    return other if other.rate > _WORTH * best.rate else best


def _timed(classifier: Forward, images: Tensor) -> tuple[Tensor, float]:
    began = time.perf_counter()
    logits = classifier(images)
    wait_for(images.device)
    return logits, time.perf_counter() - began


_paces: WeakKeyDictionary[nn.Module, dict[Hashable, Pace]] = WeakKeyDictionary()


def pace_of(classifier: Classifier, images: Tensor, batch_size: int | None = None) -> Pace:
    """The pace of a network on images like these (B×3×H×W), held as long as the network lives.

    It begins with what a run, or an earlier process, found and left in the user's cache. A `batch_size` is taken as it
    is, and nothing is learned.
    """
    if batch_size is not None:
        return Pace(batch_size, (batch_size,), lambda _: None, Setup(batch_size))
    known = _paces.setdefault(classifier.network, {})
    about = (tuple(images.shape[1:]), images.dtype, images.device, torch.get_num_threads(), memory_is_kept())
    if about not in known:
        known[about] = _begun(classifier, images)
    return known[about]


def _begun(classifier: Classifier, images: Tensor) -> Pace:
    key = tuning_cache.key_of(classifier, images, "learned")
    kind, pixels = images.device.type, images[0, 0].numel()
    first = 64 if kind != "cpu" or 64 * pixels <= _PIXELS else 16 if 16 * pixels <= _PIXELS else 4
    stored = tuning_cache.kept(tuning_cache.key_of(classifier, images)) or tuning_cache.kept(key)
    kept = Setup(stored.batch_size, stored.channels_last, rate=stored.rate) if stored else None
    return Pace(first, _SIZES.get(kind, (64,)), partial(tuning_cache.keep, key), kept)
