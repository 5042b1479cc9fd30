"""New explanations: the maps that methods make of altered images, or of an altered network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from camfaith.metrics.probing.answers import Answer, stacked, table_of
from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.maps import Maps
from camfaith.metrics.probing.probes import Blank, ImageProbe, Subject, subjects
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.contract import Bound
from camfaith.models.errors import kind_and_text
from camfaith.models.maps import rectify, upsample
from camfaith.models.penultimate import Penultimate, distance
from camfaith.models.speed.batches import each_alone


class Explained(ImageProbe):
    """Altered images of one image to be explained anew; subclasses are frozen values.

    Each altered image goes forward once for all methods, and backward once if any of them wants gradients; the calls
    that a method makes on its own come on top. Where the probe reads a map, each distinct one has images of its own,
    which go to the methods that made it.
    """

    def target(self, subject: Subject) -> int:
        """The class to be explained: the image's own."""
        return int(subject.case.targets[subject.index])

    def seed_of(self, subject: Subject) -> int:
        """What a method's random choices are drawn from: the image's own seed."""
        return subject.seed

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:
        """Entered while the maps are made: a probe of an altered network alters it here, and puts it back."""
        return nullcontext()


def as_meant(maps: Maps, raw: Tensor) -> Tensor:
    """Raw maps of the method that made `maps`, after its ReLU where it has one."""
    return rectify(raw) if maps.explainer is not None and maps.explainer.rectified else raw


def before_and_after(maps: Maps, raw: Tensor) -> tuple[Tensor, Tensor]:
    """The maps (B×h×w), and those that their method made of altered images (B×n×h×w), both after its ReLU where it has
    one: on the grid of both, or where they have two, at the images' size."""
    if maps.raw.shape[1:] != raw.shape[2:]:
        return enlarged(maps, raw)
    return as_meant(maps, maps.raw), as_meant(maps, raw)


def enlarged(maps: Maps, raw: Tensor) -> tuple[Tensor, Tensor]:
    """The same at the images' size, whatever their grids."""
    size, after = maps.case.size, as_meant(maps, raw).unbind(1)
    return upsample(as_meant(maps, maps.raw), size), torch.stack([upsample(each, size) for each in after], 1)


@dataclass(eq=False)
class Question:
    """One image to alter, the methods that explain what comes of it, and what they are told."""

    subject: Subject
    target: int
    methods: list[Hashable] = field(default_factory=list)
    told: list[Tensor] = field(default_factory=list)


class Redrawn:
    """The maps that several methods make of a probe's images, batch by batch.

    What fails on a batch is tried image by image, so that a failure costs one method one image.
    """

    def __init__(self, classifier: Classifier, case: Case, probe: Explained, asking: Mapping[Hashable, Maps]) -> None:
        self.classifier, self.case, self.probe = classifier, case, probe
        self._explainers: dict[Hashable, Bound] = {}
        self._of: dict[Hashable, list[Question]] = {}
        asked: dict[Hashable, Question] = {}
        for method, maps in asking.items():
            if maps.explainer is None:
                raise ValueError("this metric wants maps of altered images: give the method that is to make them")
            self._explainers[method], self._of[method] = maps.explainer, []
            for key, subject in subjects(probe, case, maps, _unknown):
                question = asked.setdefault(key, Question(subject, probe.target(subject)))
                question.methods.append(method)
                self._of[method].append(question)
        self._questions = list(asked.values())
        self._maps: dict[tuple[Hashable, int], list[Tensor]] = {}
        self._failures: dict[tuple[Hashable, int], str] = {}

    @property
    def shared(self) -> int:
        """How many questions equal maps saved."""
        return 0 if self.probe.reads == "image" else sum(len(each.methods) - 1 for each in self._questions)

    def passes(self) -> list[list[Question]]:
        """The questions that are asked together: those with a backward pass, and those without."""
        back, ahead = list[Question](), list[Question]()
        for question in self._questions:
            (back if self._goes_back(question.methods) else ahead).append(question)
        return [questions for questions in (back, ahead) if questions]

    def _goes_back(self, methods: Sequence[Hashable]) -> bool:
        return any(self._explainers[method].goes_back for method in methods)

    def add(self, images: Tensor, asked: Sequence[Question]) -> None:
        """Explain some more images; `asked` says to which question each belongs."""

        def lose(place: int, error: BaseException) -> None:
            question = asked[place]
            nothing = torch.full((self.probe.told(self.case.logits.shape[1]),), torch.nan, dtype=torch.float64)
            question.told.append(nothing)
            for method in question.methods:
                self._fail(method, question, error)

        def explain(some: Sequence[int]) -> None:
            self._explain(images[some[0] : some[-1] + 1], [asked[place] for place in some])

        each_alone(range(len(asked)), explain, lose, halve=False)

    def _explain(self, images: Tensor, asked: Sequence[Question]) -> None:
        methods = list(dict.fromkeys(method for question in asked for method in question.methods))
        penultimate = Penultimate(self.classifier.network)
        with penultimate.watched(len(images)):
            evidence = self._evidence(images, asked, methods)
            features = penultimate.features(len(images), images.device)
        drift = distance(features, self.case.features_of([question.subject.index for question in asked]))
        made = {method: self._made(method, evidence, asked) for method in methods}
        told = table_of(self.classifier.head, evidence.logits, evidence.targets, drift, every=self.probe.all_logits)
        for question, scores in zip(asked, told.cpu(), strict=True):
            question.told.append(scores)
        for method, found in made.items():
            for row, raw in found:
                self._maps.setdefault((method, row), []).append(raw)

    def _evidence(self, images: Tensor, asked: Sequence[Question], methods: Sequence[Hashable]) -> Evidence:
        at, masks = [question.subject.index for question in asked], self.case.masks
        return self.classifier.evidence(
            images,
            torch.tensor([question.target for question in asked]),
            [layer for method in methods for layer in self._explainers[method].needed_layers],
            gradients=self._goes_back(methods),
            seeds=torch.tensor([self.probe.seed_of(question.subject) for question in asked]),
            masks=None if masks is None else masks[at],
        )

    def _made(self, method: Hashable, evidence: Evidence, asked: Sequence[Question]) -> list[tuple[int, Tensor]]:
        """The method's maps of those images that are its own and that it did not fail on."""
        rows = [question.subject.index for question in asked]
        own = [p for p, q in enumerate(asked) if method in q.methods and (method, rows[p]) not in self._failures]
        found: list[tuple[int, Tensor]] = []

        def make(places: Sequence[int]) -> None:
            maps = self._maps_of(method, evidence, places)
            found.extend(zip((rows[place] for place in places), maps, strict=True))

        if own:
            each_alone(own, make, lambda place, error: self._fail(method, asked[place], error), halve=False)
        return found

    def _maps_of(self, method: Hashable, evidence: Evidence, places: Sequence[int]) -> Tensor:
        maps = self._explainers[method].explain(evidence.select(places))
        if not torch.isfinite(maps).all():
            raise FloatingPointError("the map holds NaN or infinite values")
        return maps

    def _fail(self, method: Hashable, question: Question, error: BaseException) -> None:
        why = f"on an altered image, {kind_and_text(error)}"
        self._failures.setdefault((method, question.subject.index), why)

    def answer(self, method: Hashable) -> Answer:
        """The scores and maps of the method's own images."""
        questions = self._of[method]
        rows = [question.subject.index for question in questions]
        found = stacked(torch.stack(question.told) for question in questions)
        failures = {
            place: self._failures[method, row] for place, row in enumerate(rows) if (method, row) in self._failures
        }
        fine = [torch.stack(self._maps[method, row]) for place, row in enumerate(rows) if place not in failures]
        if not fine:
            return replace(found, failures=failures)
        every, missing = iter(fine), torch.full_like(fine[0], torch.nan)
        maps = torch.stack([missing if place in failures else next(every) for place in range(len(rows))])
        return replace(found, maps=maps, failures=failures)


def _unknown(_index: int, _blank: Blank) -> Tensor:
    raise TypeError("a probe that asks for maps is asked once, and knows no scores")
