"""What every metric shares: its declaration, and the call that needs no harness."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from camfaith.metrics.fitting import why_unfit
from camfaith.metrics.judgement import Line as Line
from camfaith.metrics.judgement import judged, judged_together, over_several
from camfaith.metrics.probing.answers import Answers as Answers
from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case as Case
from camfaith.metrics.probing.engine import Engine
from camfaith.metrics.probing.features import features
from camfaith.metrics.probing.maps import Maps as Maps
from camfaith.metrics.probing.pool import pool
from camfaith.metrics.probing.probes import Probe as Probe
from camfaith.models.arrays import Array
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.contract import Bound
from camfaith.models.errors import NotApplicable
from camfaith.models.settings import settle_fields
from camfaith.models.speed.pace import pace_of
from camfaith.models.speed.setup import going_by

Direction = Literal["higher", "lower"]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A faithfulness metric; a new one is a frozen dataclass that overrides `probes` and `judge`.

    `probes` says which answers of the model it needs, `judge` turns them into one value per image and column. NaN
    means that a column is not defined for an image; `undefined` says when that is. A metric over several methods
    defines `judge_all(case, maps, answers)` in its place: it is given the maps of all methods that are judged together,
    of the same images, and their answers, by the methods' names, and gives columns by these names.

    Its fields are its settings, and their annotations say what they may be (`Annotated[int, Ge(1)]`, or `Count`). A
    `baseline` is given by name and becomes a `Baseline`, `features` become `Features` so, and a `pool` is given by its
    images and becomes a `Pool`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    main: ClassVar[str]
    better: ClassVar[Mapping[str, Direction]]
    """Which way is better, for the columns that judge; the others describe."""
    range: ClassVar[Mapping[str, Interval]] = {}
    """The closed interval in which each column's values lie; scores are unbounded where they are logits."""
    undefined: ClassVar[str] = "not defined for this image"
    exempt: ClassVar[Mapping[str, str]] = {}
    """Conformance checks that the metric's definition breaks, each with the reason."""

    def __post_init__(self) -> None:
        """Check and settle the settings; a metric that checks more of them calls this first."""
        settle_fields(self)
        for name, made in (("baseline", baseline), ("features", features), ("pool", pool)):
            if (given := getattr(self, name, None)) is not None:
                self.settle(**{name: made(given)})

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

    def __call__(
        self,
        model: nn.Module,
        images: Array,
        targets: Targets,
        maps: Array | Mapping[str, Array],
        *,
        masks: Array | None = None,
        contents: Array | None = None,
        layer: str | Mapping[str, str] | None = None,
        contributions: Array | Mapping[str, Array] | None = None,
        seeds: Array | None = None,
        method: Any = None,
        batch_size: int | None = None,
    ) -> dict[str, Any]:
        """Judge maps from anywhere (B×h×w, higher = more relevant, ranked as they are): column → B values.

        `model` is a Classifier or a plain module; images, maps and the like are tensors, numpy arrays or lists. `masks`
        and `contents` are B×H×W, bool. The axioms need `layer`, the layer that the maps explain, and `contributions`
        (B×K), what each of its channels adds. Ties and noise are drawn from `seeds`, one integer per image. `method`
        made the maps: anything with `explain(evidence, classifier)`; some metrics ask it for maps of altered images.

        Maps of several methods are given by name, `{"gradcam": maps, "random": others}`, and so may `layer`,
        `contributions` and `method` be; then the columns come by name too: name → column → B values. What several of
        them ask alike is asked once. A metric that compares methods wants maps so; `method` tells it which are
        controls.

        `batch_size` images go through the model at once; by default their number and layout are learned from the work,
        for as long as the network lives, and kept in the user's cache. Raises `ValueError` for maps of another shape,
        or with NaN, and `NotApplicable` where the metric needs a probability and the model's head gives none.
        """
        classifier = Classifier.of(model)
        if why := why_unfit(self, classifier.head):
            raise NotApplicable(f"{self.name} {why}")
        several = maps if isinstance(maps, Mapping) else {"": maps}
        if not several or (over_several(self) and several is not maps):
            raise ValueError(f"{self.name} wants the maps of several methods by name: {{'gradcam': maps, ...}}")
        images = classifier.given(images)
        pace = pace_of(classifier, images, batch_size)
        with going_by(pace.setup):
            case = Case.of(classifier, images, targets, masks=masks, contents=contents, seeds=seeds)
        given = _by_name(classifier, case, several, layer=layer, contributions=contributions, method=method)
        wanted: dict[Hashable, tuple[Maps, Sequence[Probe]]] = {
            name: (each, tuple(self.probes(each.layer, case.pixels))) for name, each in given.items()
        }
        answers = Engine(classifier, pace.setup, pace=pace).answer(case, wanted)
        for name, told in answers.items():
            for place, why in [failure for answer in told.values() for failure in answer.failures.items()]:
                whose = f" and {name}" if name else ""
                warnings.warn(f"{self.name} has no value for image {place}{whose}: {why}", stacklevel=2)
        if over_several(self):
            found = judged_together(self, case, given, {name: answers[name] for name in given})
        else:
            found = {name: judged(self, case, each, answers[name])[0] for name, each in given.items()}
        return found if several is maps else found[""]


def _by_name(classifier: Classifier, case: Case, maps: Mapping[str, Array], **more: Any) -> dict[str, Maps]:
    """The maps of each method, with what is given of it by name; what stands alone is of all of them."""
    for what, given in more.items():
        if isinstance(given, Mapping) and (unknown := [name for name in given if name not in maps]):
            raise ValueError(f"{what} is given for {unknown[0]!r}, but maps only for {', '.join(map(repr, maps))}")
    found = {}
    for name, raw in maps.items():
        own = {what: given.get(name) if isinstance(given, Mapping) else given for what, given in more.items()}
        method, layer = own.pop("method"), own["layer"]
        found[name] = Maps.of(
            case, raw, **own, explainer=None if method is None else Bound.of(method, classifier, layer)
        )
    return found
