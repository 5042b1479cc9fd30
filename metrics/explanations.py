"""New explanations: the maps that methods make of altered images, or of an altered network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from camfaith.metrics.answers import Answer, stacked
from camfaith.metrics.case import Case, Explainer, Maps
from camfaith.metrics.probes import ImageProbe
from camfaith.models.classifier import Classifier
from camfaith.models.speed import out_of_memory


class Explained(ImageProbe):
    """Altered images of one image to be explained anew, for its own target class; subclasses are frozen values.

    Each altered image goes forward and backward once for all methods, but for the calls that a method makes on its own.
    """

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:  # noqa: ARG002
        """What holds while the maps are made: a probe of an altered network alters it here, and puts it back."""
        return nullcontext()


class Redrawn:
    """What several methods make of the images that a probe asks for, batch by batch.

    A method that fails, or whose map is not finite, says why in its answer and is not asked again.
    """

    def __init__(self, classifier: Classifier, case: Case, asking: Mapping[Hashable, Maps]) -> None:
        self.classifier, self.case = classifier, case
        self._explainers: dict[Hashable, Explainer] = {}
        for method, maps in asking.items():
            if maps.explainer is None:
                raise ValueError("this metric wants maps of altered images: give the method that is to make them")
            self._explainers[method] = maps.explainer
        self._of = {m: range(len(case)) if maps.rows is None else maps.rows for m, maps in asking.items()}
        self.rows = sorted({row for rows in self._of.values() for row in rows})
        """The case's images that any method is asked about."""
        self._scores: list[tuple[Tensor, Tensor]] = []
        self._maps: dict[Hashable, list[tuple[Tensor, Tensor]]] = {method: [] for method in asking}
        self._failures: dict[Hashable, str] = {}

    def add(self, images: Tensor, rows: Tensor) -> None:
        """Explain some more images; `rows` says of which of the case's images they are."""
        asked = {method: one for method, one in self._explainers.items() if method not in self._failures}
        masks = self.case.masks
        evidence = self.classifier.evidence(
            images,
            self.case.targets[rows],
            [layer for one in asked.values() for layer in one.layers],
            gradients=any(one.gradients and one.layers for one in asked.values()),
            seeds=self.case.seeds[rows],
            masks=None if masks is None else masks[rows],
        )
        made: dict[Hashable, tuple[Tensor, Tensor]] = {}
        for method, one in asked.items():
            own = [place for place, row in enumerate(rows.tolist()) if row in self._of[method]]
            try:
                if own:
                    made[method] = rows[own], _finite(one.explain(evidence.select(own)))
            except Exception as error:
                if out_of_memory(error):
                    raise
                self._failures[method] = f"on an altered image, {type(error).__name__}: {error}"
        logits = evidence.logits.to(torch.float64)
        both = torch.stack([logits, logits.log_softmax(1)], 2)
        self._scores.append((rows, both[torch.arange(len(rows)), evidence.targets].cpu()))
        for method, found in made.items():
            self._maps[method].append(found)

    def answer(self, method: Hashable) -> Answer:
        """The scores and maps of the method's own images."""
        found = stacked(_by_row(self._scores, self._of[method]))
        if method in self._failures:
            return replace(found, failure=self._failures[method])
        return replace(found, maps=torch.stack(_by_row(self._maps[method], self._of[method])))


def _by_row(parts: Sequence[tuple[Tensor, Tensor]], wanted: Sequence[int]) -> list[Tensor]:
    """What was gathered with the rows that it belongs to, for each of the wanted rows."""
    rows, values = (torch.cat(each) for each in zip(*parts, strict=True))
    return [values[rows == row] for row in wanted]


def _finite(maps: Tensor) -> Tensor:
    if not torch.isfinite(maps).all():
        raise FloatingPointError("the map holds NaN or infinite values")
    return maps.detach()
