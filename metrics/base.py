"""What every metric shares: its declaration, and the call that needs no harness."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.metrics.fitting import why_unfit
from camfaith.metrics.probing.answers import Answers
from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.engine import Engine
from camfaith.metrics.probing.probes import Probe
from camfaith.models.arrays import Array, tensor_of
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.contract import Bound
from camfaith.models.errors import NotApplicable
from camfaith.models.settings import settle_fields
from camfaith.models.speed.pace import pace_of
from camfaith.models.speed.setup import going_by

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Line:
    """A curve behind a metric's number: x (n) is the same for all images, y is B×n."""

    x: Tensor
    y: Tensor
    x_label: str
    y_label: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A faithfulness metric; a new one is a frozen dataclass that overrides `probes` and `judge`.

    `probes` says which answers of the model it needs, `judge` turns them into one value per image and column. NaN
    means that a column is not defined for an image; `undefined` says when that is.

    Its fields are its settings, and their annotations say what they may be (`Annotated[int, Ge(1)]`, or `Count`). A
    `baseline` is given by name and becomes a `Baseline`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    main: ClassVar[str]
    better: ClassVar[Mapping[str, Direction]]
    """Which way is better, for the columns that judge; the others describe."""
    undefined: ClassVar[str] = "not defined for this image"

    def __post_init__(self) -> None:
        """Check and settle the settings; a metric that checks more of them calls this first."""
        settle_fields(self)
        if (given := getattr(self, "baseline", None)) is not None:
            self.settle(baseline=baseline(given))

    def settle(self, **settings: Any) -> None:
        """Put settings into the form in which equal ones are equal; for `__post_init__` alone."""
        for name, value in settings.items():
            object.__setattr__(self, name, value)

    @property
    def needs_probability(self) -> bool:
        """Whether it judges by a probability, which a regression does not give."""
        return getattr(self, "score", None) == "probability"

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        """What it asks of the model, for a method that explains `layer` and images of so many pixels."""
        return ()

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        """One value per image (B) for each column."""
        raise NotImplementedError(f"{type(self).__name__} must define judge(case, maps, answers)")

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line | None:
        """The curve behind the number, where there is one."""
        return None

    def line_of(self, case: Case, maps: Maps, answers: Answers) -> Any:
        """`line`, worked out once for these maps."""
        if self not in maps.lines:
            maps.lines[self] = self.line(case, maps, answers)
        return maps.lines[self]

    def __call__(
        self,
        model: nn.Module,
        images: Array,
        targets: Targets,
        maps: Array,
        *,
        masks: Array | None = None,
        contents: Array | None = None,
        layer: str | None = None,
        contributions: Array | None = None,
        seeds: Array | None = None,
        method: Any = None,
        batch_size: int | None = None,
    ) -> dict[str, Tensor]:
        """Judge maps from anywhere (B×h×w, higher = more relevant, ranked as they are): column → B values.

        `model` is a Classifier or a plain module; images, maps and the like are tensors, numpy arrays or lists. `masks`
        and `contents` are B×H×W, bool. The axioms need `layer`, the layer that the maps explain, and `contributions`
        (B×K), what each of its channels adds. Ties and noise are drawn from `seeds`, one integer per image. `method`
        made the maps: anything with `explain(evidence, classifier)`; some metrics ask it for maps of altered images.
        `batch_size` images go through the model at once; by default their number and layout are learned from the work,
        for as long as the network lives, and kept in the user's cache.
        Raises `ValueError` for maps of another shape, or with NaN, and `NotApplicable` where the metric needs a
        probability and the model's head gives none.
        """
        classifier = Classifier.of(model)
        if why := why_unfit(self, classifier.head):
            raise NotApplicable(f"{self.name} {why}")
        images = classifier.given(images)
        pace = pace_of(classifier, images, batch_size)
        with going_by(pace.setup):
            case = Case.of(classifier, images, targets, masks=masks, contents=contents, seeds=seeds)
        # Half precision would tie pixels that the maps tell apart.
        found = tensor_of(maps, "maps").detach()
        exact = found.to(case.images.device, torch.promote_types(found.dtype, torch.float32))
        added = None if contributions is None else tensor_of(contributions, "contributions")
        made_by = None if method is None else Bound.of(method, classifier, layer)
        given = Maps(exact, case, layer=layer, contributions=added, explainer=made_by)
        wanted: dict[Hashable, tuple[Maps, Sequence[Probe]]] = {"maps": (given, tuple(self.probes(layer, case.pixels)))}
        answers = Engine(classifier, pace.setup, pace=pace).answer(case, wanted)["maps"]
        for answer in answers.values():
            for place, why in answer.failures.items():
                warnings.warn(f"{self.name} has no value for image {place}: {why}", stacklevel=2)
        return self.judge(case, given, answers)
