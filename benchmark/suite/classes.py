"""Which class of a model is explained, and what a data set's labels are among its classes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models import Classifier, UnknownName


def target_of(target: str | int, classifier: Classifier, dataset: Dataset, classes: int) -> str | int:
    """A suite's `target`, a class by its index; `SuiteError` where the model's outputs have none such."""
    head = classifier.head
    if target == "second" and classes < 2:
        raise SuiteError(f"target = 'second': model {classifier.name!r} has one score alone; take 'predicted'")
    if not head.classes and (target in ("label", "second") or (target == "predicted" and classes > 1)):
        raise SuiteError(
            f"target = {target!r}: the {classes} outputs of model {classifier.name!r} are numbers, not classes (head "
            f"{head.name!r}); name the one to explain, as an index from 0 or by its name in `classes`"
        )
    policies = ("predicted", "label", "second")
    return target if target in policies else class_index(target, classifier, dataset, policies)


def targets_of(
    several: Sequence[str | int], classifier: Classifier, dataset: Dataset, classes: int
) -> dict[str | int, int]:
    """The model's classes for a list of targets; `SuiteError` for one that is no class, or is listed twice and would
    count twice."""
    found: dict[str | int, int] = {}
    for one in several:
        index = class_index(one, classifier, dataset, ())
        if not 0 <= index < classes:
            raise SuiteError(f"target: class index out of range: expected 0 to {classes - 1}, got {index}")
        ours, theirs = (list(names or ())[index : index + 1] for names in (classifier.class_names, dataset.class_names))
        if one == index and ours and theirs and ours != theirs:
            raise SuiteError(f"target: class {one} is {ours[0]!r} to the model, {theirs[0]!r} to the data set: name it")
        if index in found.values():
            raise SuiteError(f"target: {one!r} is listed twice, by name or index; list each class once")
        found[one] = index
    return found


def class_index(target: str | int, classifier: Classifier, dataset: Dataset, policies: Sequence[str]) -> int:
    """The model's class of that name or index."""
    if isinstance(target, int):
        return target
    names = classifier.class_names or dataset.class_names or classifier.head.class_names or ()
    if target not in names:
        raise UnknownName("target", target, [*policies, *names], "or a class index")
    places = [index for index, name in enumerate(names) if name == target]
    if len(places) > 1:
        raise SuiteError(f"target: {len(places)} classes are called {target!r}; give the index, one of {places}")
    return places[0]


def label_classes_of(target: object, classifier: Classifier, dataset: Dataset, outputs: int) -> list[int] | None:
    """The model's classes for the data set's labels, matched by name if both have names. Where they do not fit, an
    error if labels or the data set's names say what is explained, else a warning."""
    if not classifier.head.classes:
        return None
    ours, theirs = classifier.class_names, dataset.class_names
    known = (each if isinstance(each, tuple) else (each,) for each in getattr(dataset, "labels", None) or ())
    greatest = max((label for labels in known for label in labels if label is not None), default=-1)
    if ours is not None and theirs is not None and tuple(ours) != tuple(theirs):
        unclear = [name for name in theirs if ours.count(name) != 1]
        if not unclear:
            return [ours.index(name) for name in theirs]
        many = "several" if unclear[0] in ours else "none"
        text = f"the data set's class {unclear[0]!r} is {many} of the model's ({', '.join(ours[:5])}, ...)"
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
