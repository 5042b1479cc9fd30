"""New explanations: the maps that methods make of altered images, or of an altered network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answer, stacked
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import ImageProbe
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.contract import Bound
from camfaith.models.errors import kind_and_text
from camfaith.models.maps import rectify
from camfaith.models.speed.batches import each_alone


class Explained(ImageProbe):
    """Altered images of one image to be explained anew, for its own target class; subclasses are frozen values.

    Each altered image goes forward once for all methods, and backward once if any of them wants gradients; the calls
    that a method makes on its own come on top.
    """

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:
        """Entered while the maps are made: a probe of an altered network alters it here, and puts it back."""
        return nullcontext()


def as_meant(maps: Maps, raw: Tensor) -> Tensor:
    """Raw maps of the method that made `maps`, after its ReLU where it has one."""
    return rectify(raw) if maps.explainer is not None and maps.explainer.rectified else raw


class Redrawn:
    """The maps that several methods make of a probe's images, batch by batch.

    What fails on a batch is tried image by image, so that a failure costs one method one image.
    """

    def __init__(self, classifier: Classifier, case: Case, asking: Mapping[Hashable, Maps]) -> None:
        self.classifier, self.case = classifier, case
        self._explainers: dict[Hashable, Bound] = {}
        for method, maps in asking.items():
            if maps.explainer is None:
                raise ValueError("this metric wants maps of altered images: give the method that is to make them")
            self._explainers[method] = maps.explainer
        self._of = {m: range(len(case)) if maps.rows is None else maps.rows for m, maps in asking.items()}
        self.rows = sorted({row for rows in self._of.values() for row in rows})
        """The case's images that any method is asked about."""
        self._scores: dict[int, list[Tensor]] = {row: [] for row in self.rows}
        self._maps: dict[tuple[Hashable, int], list[Tensor]] = {}
        self._failures: dict[tuple[Hashable, int], str] = {}

    def add(self, images: Tensor, rows: Sequence[int]) -> None:
        """Explain some more images; `rows` says of which of the case's images they are."""

        def lose(place: int, error: BaseException) -> None:
            self._scores[rows[place]].append(torch.full((2,), torch.nan, dtype=torch.float64))
            for method in self._explainers:
                self._fail(method, rows[place], error)

        def explain(some: Sequence[int]) -> None:
            self._explain(images[some[0] : some[-1] + 1], [rows[place] for place in some])

        each_alone(range(len(rows)), explain, lose, halve=False)

    def _explain(self, images: Tensor, rows: Sequence[int]) -> None:
        evidence = self._evidence(images, rows)
        made = {method: self._made(method, evidence, rows) for method in self._explainers}
        both = self.classifier.head.of_target(evidence.logits, evidence.targets)
        for row, scores in zip(rows, both.cpu(), strict=True):
            self._scores[row].append(scores)
        for method, found in made.items():
            for row, raw in found:
                self._maps.setdefault((method, row), []).append(raw)

    def _evidence(self, images: Tensor, rows: Sequence[int]) -> Evidence:
        at, masks = list(rows), self.case.masks
        return self.classifier.evidence(
            images,
            self.case.targets[at],
            [layer for one in self._explainers.values() for layer in one.needed_layers],
            gradients=any(one.goes_back for one in self._explainers.values()),
            seeds=self.case.seeds[at],
            masks=None if masks is None else masks[at],
        )

    def _made(self, method: Hashable, evidence: Evidence, rows: Sequence[int]) -> list[tuple[int, Tensor]]:
        """The method's maps of those images that are its own and that it did not fail on."""
        own = [p for p, row in enumerate(rows) if row in self._of[method] and (method, row) not in self._failures]
        found: list[tuple[int, Tensor]] = []

        def make(places: Sequence[int]) -> None:
            maps = self._maps_of(method, evidence, places)
            found.extend(zip((rows[place] for place in places), maps, strict=True))

        if own:
            each_alone(own, make, lambda place, error: self._fail(method, rows[place], error), halve=False)
        return found

    def _maps_of(self, method: Hashable, evidence: Evidence, places: Sequence[int]) -> Tensor:
        maps = self._explainers[method].explain(evidence.select(places))
        if not torch.isfinite(maps).all():
            raise FloatingPointError("the map holds NaN or infinite values")
        return maps

    def _fail(self, method: Hashable, row: int, error: BaseException) -> None:
        self._failures.setdefault((method, row), f"on an altered image, {kind_and_text(error)}")

    def answer(self, method: Hashable) -> Answer:
        """The scores and maps of the method's own images."""
        rows = self._of[method]
        found = stacked(torch.stack(self._scores[row]) for row in rows)
        failures = {
            place: self._failures[method, row] for place, row in enumerate(rows) if (method, row) in self._failures
        }
        fine = [torch.stack(self._maps[method, row]) for place, row in enumerate(rows) if place not in failures]
        if not fine:
            return replace(found, failures=failures)
        every, missing = iter(fine), torch.full_like(fine[0], torch.nan)
        maps = torch.stack([missing if place in failures else next(every) for place in range(len(rows))])
        return replace(found, maps=maps, failures=failures)
