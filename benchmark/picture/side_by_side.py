"""Several methods asked about one picture, for several classes, in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models as torchvision_models

from camfaith.benchmark import datasets
from camfaith.benchmark.datasets.pictures import read_picture
from camfaith.benchmark.datasets.sample import Sample
from camfaith.benchmark.results.explanation import ClassScore, Explanation, Panel, Signs
from camfaith.benchmark.running import explaining
from camfaith.benchmark.suite.arms import Arm
from camfaith.benchmark.suite.declaration import MethodEntry, ModelEntry, Suite, SuiteError
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import asking, open_arm, open_model
from camfaith.benchmark.suite.settings import make
from camfaith.models import Classifier, Evidence, LayerError, UnknownName, display, survey
from camfaith.models.errors import NotApplicable
from camfaith.models.heads import Head
from camfaith.models.layers import Layer
from camfaith.models.leaks import Guard
from camfaith.models.loading import checkpoints, most_accurate_on_disk
from camfaith.models.maps import picture_of
from camfaith.models.speed.counting import Tally

METHODS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam")
"""The methods that are asked unless others are named; none of them makes a call of its own."""

SHIPPED_MODELS = {"fundus": "fundus-vgg", "fundus-tag": "fundus-tag-resnet"}
"""The model that explains the samples of each shipped data set unless another is named."""

Capture = Callable[[Sequence[Arm]], Evidence]


class NoModel(ValueError):
    """No model is named, and no default is at hand."""


def explain(
    image: str | Path | Image.Image,
    *,
    model: str | Path | nn.Module | None = None,
    methods: Sequence[str | Mapping[str, Any]] = METHODS,
    classes: Sequence[str | int] = ("predicted",),
    weights: str | Path | None = None,
    layer: str | None = None,
    signed: bool = False,
    data: str | Path | None = None,
    device: str = "auto",
) -> Explanation:
    """What `methods` say of one picture for each of `classes`, as raw maps and drawn over the picture.

    `image` is a picture, its file, or a sample that ships with the package ("fundus:3"). `model` is a network, a name
    as `models.load` takes it, with `weights`, or the TOML file of a suite with one model (`data` is its ${data}).
    None takes the model that ships for a sample, else the most accurate of torchvision's networks whose weights are on
    this disk already: nothing is downloaded unless `weights` ask for it. Methods are names or tables as in a suite,
    classes are names, whatever their case, indices or "predicted". `signed` draws raw maps, red for the class and blue
    against; otherwise maps are shown as a method's call gives them.

    All methods share one forward and one backward a class, at the union of their layers. A method's own calls come on
    top, and so does one forward where the target layer has to be found.

    A method that does not apply, or fails, leaves panels that say why. Raises `UnknownName` for what is not there,
    `SampleError` for a picture that cannot be read, `SuiteError` for a model that cannot be asked, `NoModel` where
    there is none to ask, and `NotApplicable` where no method gives a map.
    """
    if not methods or not classes:
        raise ValueError(f"name at least one method and one class; got {list(methods)} and {list(classes)}")
    sample = _sample(image)
    if model is None:
        if weights is not None:
            raise ValueError(f"weights go with a model; name the one that {str(weights)!r} are for")
        model, weights = _default_model(image)
    classifier = _classifier(model, weights, data, device)
    names = _class_names(classifier)
    wanted = [_index(name, names) for name in classes]
    seen = classifier.place(classifier.prepare(sample.image))
    mask = None if sample.mask is None else classifier.prepare_mask(sample.mask).to(classifier.device)
    entries = [MethodEntry.model_validate({"name": m} if isinstance(m, str) else m) for m in methods]
    with asking(classifier.name, seen):
        layers = [] if layer or classifier.layer else survey(classifier, seen)
        arms, refused = _open_arms(entries, layer, classifier, layers)
        passes = _passes(arms, partial(_capture, classifier, seen, mask, wanted), refused)
    picture = picture_of(seen[0])
    scores = _scores(passes[0][1], names, classifier.head) if passes else []
    panels = {(method, score.index): Panel(None, None, why) for method, why in refused.items() for score in scores}
    for group, evidence in passes:
        for arm in group:
            panels |= _panels(arm, evidence, picture, signed)
    if all(panel.picture is None for panel in panels.values()):
        why = refused | {method: panel.note for (method, _), panel in panels.items()}
        raise NotApplicable("no method gives a map: " + "; ".join(f"{method}: {text}" for method, text in why.items()))
    return Explanation(
        name=sample.id,
        picture=picture,
        model=classifier.name,
        layers=list(dict.fromkeys(name for arm in arms for name in arm.needed_layers)),
        methods=labels(entries),
        classes=scores,
        panels=panels,
        signed=signed,
        scale=_scale(signed),
    )


def _sample(image: str | Path | Image.Image) -> Sample:
    if isinstance(image, Image.Image):
        return Sample("picture", image)
    name, index = _shipped(image)
    if not name:
        return Sample(Path(image).name, read_picture(image))
    found = make(f"data set {name!r}", datasets.find(name), {})
    if int(index) >= len(found):
        raise ValueError(f"data set {name!r} has the samples 0 to {len(found) - 1}, got {index}")
    sample: Sample = found[int(index)]
    return Sample(str(image), sample.image, mask=sample.mask)


def _shipped(image: str | Path | Image.Image) -> tuple[str, str]:
    """The shipped data set and the index that `image` names, "fundus:3"; empty where it names none."""
    name, _, index = str(image).rpartition(":")
    shipped = name in datasets.SHIPPED and index.isdigit() and not Path(str(image)).exists()
    return (name, index) if shipped else ("", "")


def _default_model(image: str | Path | Image.Image) -> tuple[str, str | None]:
    """A model and its weights, for an image that comes without."""
    found = SHIPPED_MODELS.get(_shipped(image)[0])
    if found:
        return found, None
    on_disk = most_accurate_on_disk()
    if on_disk is None:
        raise NoModel(
            f"no model is named for {'the picture' if isinstance(image, Image.Image) else str(image)!r}, and none of "
            f"torchvision's has its weights in {checkpoints()}: name one, by its weights' name to have them downloaded"
        )
    return on_disk


def _classifier(
    model: str | Path | nn.Module, weights: str | Path | None, data: str | Path | None, device: str
) -> Classifier:
    if isinstance(model, nn.Module):
        if weights is not None:
            raise ValueError("weights go with the name of a model; a network has its own")
        return Classifier.of(model)
    entry = (
        _sole_model(str(model), data)
        if str(model).endswith(".toml")
        else ModelEntry.model_validate({"name": str(model)})
    )
    return open_model(entry if weights is None else entry.model_copy(update={"weights": str(weights)}), device)


def _sole_model(suite: str, data: str | Path | None) -> ModelEntry:
    entries = Suite.of(suite, data=data).model
    if len(entries) > 1:
        raise SuiteError(f"{suite} has several models: name one of {', '.join(e.label or e.name for e in entries)}")
    return entries[0]


def _class_names(classifier: Classifier) -> Sequence[str]:
    """The model's own class names; ImageNet's for a torchvision network without, as with weights from a file."""
    if classifier.class_names is None and classifier.name in torchvision_models.list_models(module=torchvision_models):
        return [*torchvision_models.ResNet18_Weights.DEFAULT.meta["categories"]]
    return classifier.class_names or classifier.head.class_names or ()


def _index(name: str | int, names: Sequence[str]) -> int | None:
    """The class's index; None for the predicted class.

    A name that no class has exactly may be spelt with other capitals, or be one of several words for a class, "tench,
    Tinca tinca".
    """
    if not isinstance(name, str):
        return name
    if name == "predicted":
        return None
    places = [place for place, known in enumerate(names) if known == name]
    if not places:
        words = [{known.casefold(), *known.casefold().split(", ")} for known in names]
        places = [place for place, each in enumerate(words) if name.casefold() in each]
    if not places:
        hint = "or a class index" if names else "or a class index: the model has no names for its classes"
        raise UnknownName("class", name, ["predicted", *names], hint)
    if len(places) > 1:
        raise ValueError(f"class {name!r} could be any of the classes {places}: give an index")
    return places[0]


def _open_arms(
    entries: Sequence[MethodEntry], layer: str | None, classifier: Classifier, layers: Sequence[Layer]
) -> tuple[list[Arm], dict[str, str]]:
    """The methods that can be bound to the model, and why the others cannot."""
    arms, refused = [], {}
    for label, entry in zip(labels(entries), entries, strict=True):
        try:
            placed = entry.model_copy(update={"layer": entry.layer or layer})
            arms.append(open_arm(label, placed, classifier, layers))
        except ValueError as error:
            if not isinstance(error.__cause__ or error, NotApplicable | LayerError):
                raise
            refused[label] = str(error)
    return arms, refused


def _capture(
    classifier: Classifier, seen: Tensor, mask: Tensor | None, wanted: Sequence[int | None], arms: Sequence[Arm]
) -> Evidence:
    """The evidence: one row for each class, at the union of the layers that the methods need."""
    found = classifier.evidence(
        seen.expand(len(wanted), -1, -1, -1),
        lambda logits: torch.tensor(
            [int(classifier.head.predicted(logits[:1])) if index is None else index for index in wanted]
        ),
        list(dict.fromkeys(layer for arm in arms for layer in arm.needed_layers)),
        gradients=any(arm.goes_back for arm in arms),
        masks=None if mask is None else mask.expand(len(wanted), -1, -1),
    )
    targets = found.targets.tolist()
    return found.select([targets.index(target) for target in dict.fromkeys(targets)])


def _passes(arms: Sequence[Arm], capture: Capture, refused: dict[str, str]) -> list[tuple[Sequence[Arm], Evidence]]:
    """One pass for all methods. Where a layer cannot serve, one pass for each layer: only its own methods are lost."""
    layers = dict.fromkeys(arm.needed_layers for arm in arms)
    try:
        return [(arms, capture(arms))] if arms else []
    except LayerError as error:
        if len(layers) == 1:
            refused.update((arm.label, str(error)) for arm in arms)
            return []
    groups = [[arm for arm in arms if arm.needed_layers == needed] for needed in layers]
    return [found for group in groups for found in _passes(group, capture, refused)]


def _scores(evidence: Evidence, names: Sequence[str], head: Head) -> list[ClassScore]:
    logits, targets = evidence.logits[:1], evidence.targets
    predicted = int(head.predicted(logits)) if head.classes or logits.shape[1] == 1 else None
    told = head.of_target(logits.expand(len(targets), -1), targets).tolist()
    found = []
    for index, (score, log_probability) in zip(targets.tolist(), told, strict=True):
        name = names[index] if len(names) == logits.shape[1] else f"{'class' if head.classes else 'output'} {index}"
        probability = float(np.exp(log_probability)) if head.gives_probabilities else None
        found.append(ClassScore(index, name, probability, index == predicted, score))
    return found


def _panels(arm: Arm, evidence: Evidence, picture: Image.Image, signed: bool) -> dict[tuple[str, int], Panel]:
    targets = evidence.targets.tolist()
    found = explaining.explain(arm, evidence, Tally(), Guard(arm.classifier.network))
    for text in found.warnings:
        warnings.warn(f"{arm.label}: {text}", stacklevel=2)
    panels = {(arm.label, targets[row]): Panel(None, None, why) for row, (_, why) in found.failures.items()}
    for row, raw in zip(found.rows, found.raw, strict=True):
        drawn = _drawn(raw, picture, signed, arm.of_pixels)
        if not arm.class_dependent:
            drawn = replace(drawn, note=", ".join(filter(None, (drawn.note, "same for all classes"))))
        panels[arm.label, targets[row]] = replace(drawn, signs=_signs(arm)) if signed else drawn
    return panels


def _signs(arm: Arm) -> Signs:
    if arm.unsigned:
        return "unsigned"
    if arm.displayed:
        return "after ReLU"
    return "before ReLU" if arm.rectified else ""


def _drawn(raw: Tensor, picture: Image.Image, signed: bool, said: bool | None) -> Panel:
    """The panel of one map; `said` is what its method says of being `of_pixels`, None where it says nothing."""
    values = raw.cpu().numpy()
    of_pixels = display.is_of_pixels(said, values, picture)
    if signed:
        end, most = display.scale_end(values, of_pixels=of_pixels), display.scale_end(values)
        note = f"max |M| = {most:.2g}" if end == most else f"≥ {end:.2g} (max |M| = {most:.2g})"
        return Panel(values, display.overlay_signed(picture, values, of_pixels=of_pixels), note, end < most)
    heatmap, note = display.heatmap(values, (picture.height, picture.width)), ""
    if heatmap.min() == heatmap.max():
        note = "constant" if heatmap.any() else "nothing for the class"
    cut = display.scale_end(heatmap, of_pixels=of_pixels) < display.scale_end(heatmap)
    return Panel(values, display.overlay(picture, heatmap, of_pixels=of_pixels), note, cut)


def _scale(signed: bool) -> Image.Image:
    """The colours from least to most, over all greys that a picture can have: black below, white above."""
    greys, steps = Image.linear_gradient("L").rotate(180), np.linspace(-1 if signed else 0, 1, 256)
    return (display.overlay_signed if signed else display.overlay)(greys, np.tile(steps, (256, 1)))
