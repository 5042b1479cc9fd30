"""What a training starts from: a network for the data set's classes, with the best weights that are at hand."""

from __future__ import annotations

import warnings
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torchvision import models as torchvision_models

from camfaith.benchmark.suite.declaration import ModelEntry
from camfaith.models import Classifier, load
from camfaith.models.checkpoint import is_checkpoint
from camfaith.models.heads import HEADS
from camfaith.models.loading import build_for, checkpoints
from camfaith.models.lookup import UnknownName
from camfaith.models.reference import REFERENCES, SIZE

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The mean and standard deviation of its colours."""
_TRAINABLE = ("softmax", "ordinal")


def starting_weights(model: str, given: str | None) -> str | None:
    """The weights to start from, as `build_for` takes them: those `given`, else those that ship, else torchvision's
    where they are on this disk, else None. Warns where a library's own are not at hand."""
    if given is not None or model in REFERENCES:
        return None if given == "none" else given or "DEFAULT"
    if model in torchvision_models.list_models(module=torchvision_models):
        default: Any = torchvision_models.get_model_weights(model)["DEFAULT"]
        if (checkpoints() / PurePosixPath(urlparse(default.url).path).name).is_file():
            return "DEFAULT"
    elif not model.startswith("timm:"):
        return None  # as its function makes it
    warnings.warn(
        f"no weights for {model!r} on this disk: it learns from scratch, which needs many pictures and epochs; "
        "--weights DEFAULT downloads those of ImageNet, --weights FILE takes a file",
        stacklevel=3,
    )
    return None


def starting_classifier(
    entry: ModelEntry, weights: str | None, classes: tuple[str, ...], head: str, size: int | None
) -> Classifier:
    """The network of that entry with an output for each class, or as many as the head needs, which takes whole pictures
    squeezed to `size` × `size`: to 224, or 96 for a network that ships, where that is None.

    Colours are normalised as the entry says, else as the network's weights want it, else as ImageNet's do. Raises
    `ValueError` for a head that is not trained, and what `build_for` raises.
    """
    if head not in _TRAINABLE:
        raise UnknownName("head to train", head, _TRAINABLE)
    network = build_for(entry.name, HEADS[head].outputs(len(classes)), weights)
    named = "none" if weights is None or is_checkpoint(weights) or entry.name in REFERENCES else weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is known of the colours
        known = load(entry.name, weights=named)
    mean, std = (entry.mean or known.mean, entry.std or known.std)
    if mean is None and known.colours == 3:
        mean, std = IMAGENET
    side = size or (SIZE if entry.name in REFERENCES else 224)
    made = Classifier(network, name=entry.name, class_names=classes, head=head, resize=(side, side), mean=mean, std=std)
    try:
        made.scores(torch.full((2, made.colours, side, side), 0.5))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"model {entry.name!r} takes no pictures of {side} × {side} pixels: {error}") from error
    return made
