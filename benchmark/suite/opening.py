"""Turns a suite's names into things: models, data sets, methods bound to models, metrics; tries them on one image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camfaith import methods, metrics
from camfaith.benchmark import datasets
from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.datasets.each_class import EachClass
from camfaith.benchmark.datasets.split import part_of
from camfaith.benchmark.suite.arms import Arm, Judge
from camfaith.benchmark.suite.classes import label_classes_of, target_of, targets_of
from camfaith.benchmark.suite.declaration import (
    DatasetEntry,
    Entry,
    General,
    MethodEntry,
    ModelEntry,
    Suite,
    SuiteError,
)
from camfaith.benchmark.suite.identity import method_key, metric_key
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.settings import make, one_line, parameters_of
from camfaith.methods.contract import bind
from camfaith.metrics.fitting import Unfit, why_unfit
from camfaith.metrics.judgement import over_several
from camfaith.models import Classifier, LayerError, load, survey
from camfaith.models.errors import in_one_line
from camfaith.models.heads import Head
from camfaith.models.layers import Layer
from camfaith.models.leaks import Guard
from camfaith.models.penultimate import Penultimate
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning_cache import setup_of


@dataclass(frozen=True)
class Bench:
    """One model on one data set, with the methods and metrics that meet there."""

    model: str
    data: str
    classifier: Classifier
    dataset: Dataset
    arms: Sequence[Arm]
    judges: Sequence[Judge]
    target: str | int
    """The class that is explained; "each" where every sample has its own of the suite's list."""
    targets: Mapping[str | int, int]
    """The model's class for each entry of that list."""
    layer: str | None
    survey: Sequence[Layer]
    image: Tensor
    """The image on which everything was tried, 1×3×H×W."""
    classes: int
    label_classes: Sequence[int] | None
    """The model's class for each of the data set's labels; None if they are the same numbers."""
    setup: Setup
    """How images go through the model."""
    own_changes: frozenset[str]
    """What the network changes of itself when it is called (`Guard`)."""

    def class_of(self, label: int | None) -> int | None:
        """The model's class for a label of the data set."""
        if label is None or self.label_classes is None:
            return label
        return self.label_classes[label] if 0 <= label < len(self.label_classes) else label

    @property
    def labels_fit(self) -> bool:
        """Whether a sample's label is the class that the model should predict: not where a class is none of the
        model's, its outputs are no classes, or a sample has several labels."""
        if not self.classifier.head.classes or isinstance(self.dataset, EachClass):
            return False
        ours, theirs = self.classifier.class_names, self.dataset.class_names
        if ours is None or theirs is None:
            return theirs is None or len(theirs) == self.classes
        return all(ours.count(name) == 1 for name in theirs) or tuple(theirs) == ours

    @property
    def layers(self) -> list[str]:
        """The layers that the methods need, each once."""
        return list(dict.fromkeys(layer for arm in self.arms for layer in arm.needed_layers))

    @property
    def target_class(self) -> int | None:
        """The explained class, if it is the same for all images; of several, the first."""
        if self.targets:
            return next(iter(self.targets.values()))
        return self.target if isinstance(self.target, int) else None

    @property
    def gradients(self) -> bool:
        return any(arm.goes_back for arm in self.arms)


def open_model(entry: ModelEntry, device: str) -> Classifier:
    """The model of an entry, on that device; "auto" is a GPU if there is one."""
    settings = entry.model_dump(exclude={"name", "label", "classes"})
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    names = entry.class_names
    with one_line(f"model {entry.name!r}"):
        return load(entry.name, class_names=names, **settings).to(_device(chosen))


def _device(name: str) -> torch.device:
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise SuiteError(f"device {name!r} is not there: {in_one_line(error)}") from None


def open_dataset(entry: DatasetEntry, general: General) -> Dataset:
    found = whole_dataset(entry)
    # Sequential tests need images in random order, so classes must not take turns.
    taken = datasets.subset(found, entry.limit, general.seed, by_class=general.until != "separated")
    return datasets.per_class(taken, general.target)


def whole_dataset(entry: DatasetEntry) -> Dataset:
    """All samples of an entry's data set, or of its part, in the data set's own order."""
    what, settings = f"data set {entry.name!r}", entry.settings
    split = None if entry.part is None else settings.pop("split", None)  # a data set may have a setting of that name
    found = make(what, datasets.find(entry.name), settings)
    with one_line(what):
        size, ids, _ = len(found), Counter(found.ids), found.class_names
    if size == 0:
        raise SuiteError(f"data set {entry.name!r} is empty; give one with at least one sample")
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise SuiteError(f"data set {entry.name!r}: the id {twice[0]!r} stands for several samples; make ids unique")
    if entry.part is not None:
        if not isinstance(split, str):
            raise SuiteError(f"{what}: part {entry.part!r} needs split, the file that says which samples it has")
        found = part_of(found, split, entry.part)
    return found  # type: ignore[no-any-return]


def open_judges(entries: Sequence[Entry], methods: Sequence[str] = ()) -> list[Judge]:
    """The metrics of a suite; `methods` are the keys of its methods, for a metric over several."""
    judges = []
    for label, entry in zip(labels(entries, metrics.find), entries, strict=True):
        kind = metrics.find(entry.name)
        metric = make(f"metric {entry.name!r}", kind, entry.settings)
        judges_any = over_several(metric) or callable(getattr(metric, "judge", None))
        if not judges_any or not callable(getattr(metric, "probes", None)):
            raise SuiteError(f"metric {entry.name!r} has no probes(layer, pixels) and judge(case, maps, answers)")
        if not isinstance(getattr(metric, "main", None), str) or not isinstance(getattr(metric, "better", 0), Mapping):
            raise SuiteError(f"metric {entry.name!r} has no main, a column's name, or no better, a table of directions")
        parameters = parameters_of(kind, entry.settings)
        key = metric_key(entry.name, kind, metric, parameters)
        over = tuple(sorted(methods)) if over_several(metric) else ()
        judges.append(Judge(label, entry.name, key, parameters, metric, over))
    return judges


def open_bench(
    suite: Suite,
    entry: ModelEntry,
    classifier: Classifier,
    data: str,
    dataset: Dataset,
    judges: Sequence[Judge],
    setup: Setup | None = None,
) -> Bench:
    """The things of one model on one data set. `setup` None is found by measuring."""
    model = entry.label or entry.name
    image = classifier.place(_first_image(classifier, dataset, data))
    with asking(model, image):
        layers = survey(classifier, image)
        guard = Guard(classifier.network)
        with guard.learning():
            classes = classifier.scores(image).shape[1]
        label_classes = label_classes_of(suite.suite.target, classifier, dataset, classes)
        arms = [open_arm(label, e, classifier, layers, guard) for label, e in _labelled(suite.suite.methods)]
        asked = suite.suite.target
        several = asked if isinstance(asked, tuple) else ()
        bench = Bench(
            model=model,
            data=data,
            classifier=classifier,
            dataset=dataset,
            arms=arms,
            judges=[_for_head(judge, classifier.head) for judge in judges],
            target="each" if isinstance(asked, tuple) else target_of(asked, classifier, dataset, classes),
            targets=targets_of(several, classifier, dataset, classes),
            layer=_common_layer(arms),
            survey=layers,
            image=image,
            classes=classes,
            label_classes=label_classes,
            setup=setup or _setup(suite.suite, classifier, image),
            own_changes=frozenset(),
        )
        _require_fitting(bench)
        with guard.learning(), Penultimate(classifier.network).watched(len(image)):  # which learns its last layer
            classifier.evidence(image, bench.target_class, bench.layers, gradients=bench.gradients)
    return replace(bench, own_changes=frozenset(guard.own))


def _require_fitting(bench: Bench) -> None:
    """`SuiteError` where a metric's settings do not fit images of this size; whatever else goes wrong in a metric costs
    its own rows."""
    pixels = bench.image.shape[-2] * bench.image.shape[-1]
    for judge in bench.judges:
        for layer in dict.fromkeys(arm.layer for arm in bench.arms):
            try:
                judge.probes(layer, pixels)
            except ValueError as error:
                raise SuiteError(f"metric {judge.label!r}: {error}") from error
            except Exception:
                break


def _for_head(judge: Judge, head: Head) -> Judge:
    why = why_unfit(judge.metric, head)
    return replace(judge, metric=Unfit(judge.metric, why)) if why else judge


@contextmanager
def asking(model: str, image: Tensor) -> Iterator[None]:
    """Errors of a model's first call say what to change."""
    try:
        yield
    except LayerError as error:
        raise LayerError(f"model {model!r}: {error}") from error
    except (TypeError, FloatingPointError) as error:
        raise SuiteError(str(error) if str(error).startswith("model ") else f"model {model!r}: {error}") from error
    except RuntimeError as error:
        wanted = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
        if wanted and int(wanted[2]) == image.shape[1]:
            raise SuiteError(
                f"model {model!r} takes images of {wanted[1]} channels; a picture has 3, or 1 where mean and std have "
                "one number each: bring pictures to its channels in a wrapper"
            ) from error
        size = "×".join(map(str, image.shape[-2:]))
        raise SuiteError(
            f"model {model!r} fails on an image of {size} px: {in_one_line(error)}; give the size it takes as resize "
            "and crop"
        ) from error
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise SuiteError(f"model {model!r} fails on an image: {in_one_line(error)}") from error


def _setup(general: General, classifier: Classifier, image: Tensor) -> Setup:
    if general.batch_size is not None and not general.allow:
        return Setup(general.batch_size)
    found = setup_of(classifier, image, general.allow)
    return found if general.batch_size is None else replace(found, batch_size=general.batch_size)


def _labelled(entries: Sequence[MethodEntry]) -> list[tuple[str, MethodEntry]]:
    return list(zip(labels(entries, methods.find), entries, strict=True))


def _common_layer(arms: Sequence[Arm]) -> str | None:
    found = [arm.explainer.layer for arm in arms if arm.needs_layer]
    return found[0] if found else None


def _first_image(classifier: Classifier, dataset: Dataset, label: str) -> Tensor:
    first: Exception | None = None
    for index in range(len(dataset)):
        try:
            return classifier.prepare(dataset[index].image)
        except Exception as error:  # whatever a data set raises, the next sample may work
            first = first or error
    text = "" if first is None else in_one_line(first)
    raise SuiteError(f"data set {label!r}: not one of its {len(dataset)} samples can be read; the first: {text}")


def open_arm(
    label: str, entry: MethodEntry, classifier: Classifier, layers: Sequence[Layer], guard: Guard | None = None
) -> Arm:
    """The method of an entry, bound to the model. `layers` is the model's survey, for a method that must find its
    layer; `guard` watches the model."""
    kind = methods.find(entry.name)
    with (guard or Guard(classifier.network)).call() as leaks:
        bound = make(
            f"method {entry.name!r}", lambda **k: bind(kind, classifier, entry.layer, k, layers), entry.settings, kind
        )
    parameters = parameters_of(kind, entry.settings) | ({"layer": bound.explainer.layer} if bound.needs_layer else {})
    key, left = method_key(entry, kind), tuple(f"its constructor left: {text}" for text in leaks)
    return Arm(label=label, name=entry.name, key=key, parameters=parameters, leaks=left, **vars(bound))
