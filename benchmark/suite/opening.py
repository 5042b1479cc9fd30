"""Turns a suite's names into things: models, data sets, methods bound to models, metrics; tries them on one image."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from camfaith import methods, metrics
from camfaith.benchmark import datasets
from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.datasets.each_class import EachClass
from camfaith.benchmark.suite.declaration import (
    DatasetEntry,
    Entry,
    General,
    MethodEntry,
    ModelEntry,
    Suite,
    SuiteError,
    labels,
)
from camfaith.benchmark.suite.identity import method_key, metric_key
from camfaith.benchmark.suite.settings import make, one_line, parameters_of
from camfaith.benchmark.suite.tuning_cache import setup_of
from camfaith.methods.contract import bind
from camfaith.metrics.base import Metric
from camfaith.metrics.fitting import Unfit, unfit
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models import Classifier, LayerError, UnknownName, load, survey
from camfaith.models.contract import Bound, Calls
from camfaith.models.errors import in_one_line, text_of, told
from camfaith.models.heads import Head
from camfaith.models.layers import Layer
from camfaith.models.leaks import Guard, Watch
from camfaith.models.speed.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Arm(Bound):
    """A method bound to a model, under the label that stands in the tables."""

    label: str
    name: str
    key: str
    parameters: Mapping[str, Any]
    leaks: tuple[str, ...] = ()
    """What its constructor changed in the network or the process, which was undone."""

    def cost(self, image: Tensor) -> Calls:
        """As the method says; none where that is no `Calls`, or fails: it is a plan's matter alone."""
        before = Watch(self.classifier.network)
        try:
            found: Any = super().cost(image)
        except Exception as error:
            found = told(error)
        before.undone()
        if isinstance(found, Calls):
            return found
        warnings.warn(f"{self.label}: cost(image) gives no Calls ({text_of(found)}); none are planned", stacklevel=1)
        return Calls()


@dataclass(frozen=True)
class Judge:
    """A metric under the label that stands in the tables."""

    label: str
    name: str
    key: str
    parameters: Mapping[str, Any]
    metric: Metric | Unfit
    _asked: dict[tuple[str | None, int], list[Probe]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def probes(self, layer: str | None, pixels: int) -> list[Probe]:
        """What its metric asks (`Metric.probes`). Raises what that raises, and `TypeError` where it asks for what is no
        probe."""
        if (layer, pixels) not in self._asked:
            found = list(self.metric.probes(layer, pixels))
            for probe in found:
                if not isinstance(probe, Channels) and not callable(getattr(probe, "rounds", None)):
                    raise TypeError(f"probes gives {type(probe).__name__}, which is no probe (ImageProbe, Channels)")
                count = 0 if isinstance(probe, Channels) else probe.count(pixels)
                if not isinstance(count, int):
                    raise TypeError(f"{type(probe).__name__}.count gives {type(count).__name__}, expected int")
                hash(probe), repr(probe)  # which answers and keys are found by
            self._asked[layer, pixels] = found
        return self._asked[layer, pixels]

    def planned(self, layer: str | None, pixels: int) -> list[Probe]:
        """The same; nothing of a metric that cannot say it, whose rows tell why."""
        try:
            return self.probes(layer, pixels)
        except Exception:
            return []


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
        return ours is None or theirs is None or set(theirs) <= set(ours)

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
    what = f"data set {entry.name!r}"
    found = make(what, datasets.find(entry.name), entry.settings)
    with one_line(what):
        size, ids, _ = len(found), Counter(found.ids), found.class_names
    if size == 0:
        raise SuiteError(f"data set {entry.name!r} is empty; give one with at least one sample")
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise SuiteError(f"data set {entry.name!r}: the id {twice[0]!r} stands for several samples; make ids unique")
    # Sequential tests need images in random order, so classes must not take turns.
    taken = datasets.subset(found, entry.limit, general.seed, by_class=general.until != "separated")
    return datasets.per_class(taken, general.target)


def open_judges(entries: Sequence[Entry]) -> list[Judge]:
    """The metrics of a suite."""
    judges = []
    for label, entry in zip(labels(entries), entries, strict=True):
        kind = metrics.find(entry.name)
        metric = make(f"metric {entry.name!r}", kind, entry.settings)
        if not callable(getattr(metric, "judge", None)) or not callable(getattr(metric, "probes", None)):
            raise SuiteError(f"metric {entry.name!r} has no probes(layer, pixels) and judge(case, maps, answers)")
        if not isinstance(getattr(metric, "main", None), str) or not isinstance(getattr(metric, "better", 0), Mapping):
            raise SuiteError(f"metric {entry.name!r} has no main, a column's name, or no better, a table of directions")
        parameters = parameters_of(kind, entry.settings)
        key = metric_key(entry.name, kind, metric, parameters)
        judges.append(Judge(label, entry.name, key, parameters, metric))
    return judges


def open_bench(
    suite: Suite, entry: ModelEntry, classifier: Classifier, data: str, dataset: Dataset, judges: Sequence[Judge]
) -> Bench:
    model = entry.label or entry.name
    image = classifier.place(_first_image(classifier, dataset, data))
    with asking(model, image):
        layers = survey(classifier, image)
        guard = Guard(classifier.network)
        with guard.learning():
            classes = classifier.scores(image).shape[1]
        label_classes = _label_classes(suite.suite.target, classifier, dataset, classes)
        arms = [open_arm(label, e, classifier, layers, guard) for label, e in _labelled(suite.suite.methods)]
        asked = suite.suite.target
        several = asked if isinstance(asked, tuple) else ()
        bench = Bench(
            model=model,
            data=data,
            classifier=classifier,
            dataset=dataset,
            arms=arms,
            judges=[_fitting(judge, classifier.head) for judge in judges],
            target="each" if isinstance(asked, tuple) else _target(asked, classifier, dataset, classes),
            targets={one: _class(one, classifier, dataset, ()) for one in several},
            layer=_common_layer(arms),
            survey=layers,
            image=image,
            classes=classes,
            label_classes=label_classes,
            setup=_setup(suite.suite, classifier, image),
            own_changes=frozenset(),
        )
        with guard.learning():
            classifier.evidence(image, bench.target_class, bench.layers, gradients=bench.gradients)
    return replace(bench, own_changes=frozenset(guard.own))


def _fitting(judge: Judge, head: Head) -> Judge:
    why = unfit(judge.metric, head)
    return replace(judge, metric=Unfit(judge.metric, why)) if why else judge


@contextmanager
def asking(model: str, image: Tensor) -> Iterator[None]:
    """Errors of a model's first call say what to change."""
    try:
        yield
    except LayerError as error:
        raise LayerError(f"model {model!r}: {error}") from error
    except (TypeError, FloatingPointError) as error:
        raise SuiteError(f"model {model!r}: {error}") from error
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
    return list(zip(labels(entries), entries, strict=True))


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
    raise SuiteError(f"data set {label!r}: not one of its {len(dataset)} samples can be read; the first: {first}")


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


def _target(target: str | int, classifier: Classifier, dataset: Dataset, classes: int) -> str | int:
    head = classifier.head
    if target == "second" and classes < 2:
        raise SuiteError(f"target = 'second': model {classifier.name!r} has one score alone; take 'predicted'")
    if not head.classes and (target in ("label", "second") or (target == "predicted" and classes > 1)):
        raise SuiteError(
            f"target = {target!r}: the {classes} outputs of model {classifier.name!r} are numbers, not classes (head "
            f"{head.name!r}); name the one to explain, as an index from 0 or by its name in `classes`"
        )
    policies = ("predicted", "label", "second")
    return target if target in policies else _class(target, classifier, dataset, policies)


def _class(target: str | int, classifier: Classifier, dataset: Dataset, policies: Sequence[str]) -> int:
    """The model's class of that name or index."""
    if isinstance(target, int):
        return target
    names = classifier.class_names or dataset.class_names or classifier.head.class_names or ()
    if target not in names:
        raise UnknownName("target", target, [*policies, *names], "or a class index")
    return list(names).index(target)


def _label_classes(target: object, classifier: Classifier, dataset: Dataset, outputs: int) -> list[int] | None:
    """The model's classes for the data set's labels, matched by name if both have names. Where they do not fit, an
    error if labels or the data set's names say what is explained, else a warning."""
    if not classifier.head.classes:
        return None
    ours, theirs = classifier.class_names, dataset.class_names
    known = (each if isinstance(each, tuple) else (each,) for each in getattr(dataset, "labels", None) or ())
    greatest = max((label for labels in known for label in labels if label is not None), default=-1)
    if ours is not None and theirs is not None and tuple(ours) != tuple(theirs):
        missing = [name for name in theirs if name not in ours]
        if not missing:
            return [list(ours).index(name) for name in theirs]
        text = f"the data set's class {missing[0]!r} is none of the model's ({', '.join(ours[:5])}, ...)"
    elif theirs is not None and len(theirs) != outputs:
        text = f"the data set has {len(theirs)} classes, the model {outputs} outputs"
    elif greatest >= outputs:  # the rows of such samples say so
        text = f"the data set has label {greatest}, the model outputs 0 to {outputs - 1}; are labels counted from 0?"
        warnings.warn(text, stacklevel=2)
        return None
    else:
        return None
    asked = target if isinstance(target, tuple) else (target,)
    if target == "label" or (ours is None and any(one in (theirs or ()) for one in asked)):
        raise SuiteError(f"{text}: give classes in the model's order, or explain another target")
    warnings.warn(f"{text}: labels are shown as numbers of the data set's own", stacklevel=2)
    return None
