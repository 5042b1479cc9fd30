"""Keys: hashes of what can change a value, and nothing else.

A cell is identified by its block's context (model, target, seed, libraries), its sample's content, its method's key and
its metric's key. None of them contains a label, which is a user's own name.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camfaith import methods
from camfaith.benchmark.datasets import Sample
from camfaith.benchmark.suite.declaration import General, MethodEntry, ModelEntry, digest
from camfaith.benchmark.suite.settings import parameters_of
from camfaith.benchmark.suite.sources import module_hash, source_hash
from camfaith.methods.contract import bind
from camfaith.metrics import Engine, Metric
from camfaith.metrics.judgement import judged
from camfaith.metrics.probing.probes import Probe
from camfaith.metrics.probing.redrawn import Explained
from camfaith.models import Classifier
from camfaith.models.card import CARD
from camfaith.models.heads import Head
from camfaith.models.loading import card_of
from camfaith.models.lookup import load_attribute
from camfaith.models.own_head import OwnHead, head_of
from camfaith.models.pictures import bands
from camfaith.models.reference import REFERENCES, WEIGHTS, build

NUMERICAL = ("torch", "torchvision", "captum", "numpy", "scipy", "pillow")
"""The libraries whose versions can change any value; a library of methods counts for its methods alone."""
_JUDGING = ("judging", "asking", "together", "scoring", "explaining", "known", "reading")


def method_key(entry: MethodEntry, kind: Any, inner: int = 0) -> str:
    """The key of a method: its class and what the class depends on, its version, settings, and layer if it has one.

    A method over another one (`fused`, `noise-tunnel`) depends on that too.
    """
    parameters = parameters_of(kind, entry.settings)
    named = parameters.get("method")
    settings = {"name": named} if isinstance(named, str) else named
    inside = None
    if isinstance(settings, Mapping) and "name" in settings and inner < 4:
        other = MethodEntry(**settings)
        inside = method_key(other, methods.find(other.name), inner + 1)
    name = entry.name.rpartition(":")[2] if ":" in entry.name else kind.__qualname__
    made = [name, str(getattr(kind, "version", 1)), parameters, entry.layer]
    return digest([made, inside, source_hash(kind), source_hash(bind)])


def metric_key(name: str, kind: Any, metric: Metric, parameters: Mapping[str, Any]) -> str:
    """The key of a metric: its class, what the class depends on, and its settings as it took them. A baseline from a
    file counts by its pixels, not its path."""
    made = repr(metric) if is_dataclass(metric) else digest([name, parameters])
    return digest([str(getattr(kind, "version", 1)), made, *map(source_hash, (kind, Engine, judged))])


def probe_key(probe: Probe) -> str | None:
    """The key of a probe that asks for scores and reads the image alone. None for a probe that reads maps, asks for new
    maps, or has a `repr` that does not show its settings."""
    told = repr(probe)
    if probe.reads != "image" or isinstance(probe, Explained) or " at 0x" in told:
        return None
    kind: Any = type(probe)
    return digest([told, source_hash(kind)])


def content_hash(sample: Sample) -> str:
    """A hash of everything that a data set says of a sample."""
    about = (sample.label, sample.cluster) if sample.target is None else (sample.label, sample.cluster, sample.target)
    found = hashlib.sha256(repr(about).encode())
    for plane in (sample.image, sample.mask, sample.content):
        if plane is None:
            found.update(b"none")
        else:
            found.update(repr((plane.mode, plane.size)).encode())
            for _, band in bands(plane):
                found.update(band.tobytes())
    return found.hexdigest()[:16]


def weights_hash(network: nn.Module) -> str:
    """A hash of every parameter and buffer, by name, those too that no checkpoint keeps, and of extra state."""
    found = hashlib.sha256()
    for name, value in sorted({**network.state_dict(), **dict(network.named_buffers())}.items()):
        found.update(name.encode())
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            continue
        with suppress(Exception):  # extra state that cannot be pickled has no bytes; packed and quantised weights have
            content = io.BytesIO()
            torch.save(value, content)
            found.update(content.getvalue())
    return found.hexdigest()


def model_key(classifier: Classifier, entry: ModelEntry | None = None) -> str:
    """The key of a model: its network's structure, source and weights, how it prepares images, and the source of what
    made it, where a suite's entry names that."""
    settings = (classifier.mean, classifier.std, asdict(classifier.geometry))
    own = sorted({source_hash(kind) for kind in map(type, classifier.network.modules()) if not _of_library(kind)})
    return digest(
        [
            repr(classifier.network),
            weights_hash(classifier.network),
            settings,
            classifier.class_names,
            classifier.output,
            _head_key(classifier.head),
            own,
            entry and _source_of(entry),
        ]
    )


def model_facts(classifier: Classifier) -> dict[str, Any]:
    """What a run says of a model, and what tells it from another one, as JSON knows it."""
    mean, std = (None if colour is None else list(colour) for colour in (classifier.mean, classifier.std))
    said = {"head": classifier.head.name, "mean": mean, "std": std, **asdict(classifier.geometry)}
    return {"weights_sha256": weights_hash(classifier.network), **json.loads(json.dumps(said))}


def declared_model(entry: ModelEntry) -> str:
    """A hash of what a suite says of a model, and of the files that it names: equal hashes load equal models."""
    said = entry.model_dump(exclude={"label"})
    files = [_file_hash(path) for path in (entry.weights, entry.classes) if isinstance(path, str)]
    if entry.name in REFERENCES:
        files.append(_file_hash(str(WEIGHTS / f"{entry.name}.safetensors")))
    if card := card_of(entry.name):
        files += [_file_hash(str(Path(entry.name, file))) for file in (CARD, card.weights)]
    files.append(_head_key(head_of(entry.head)) if entry.head else None)
    if entry.name.startswith("hf:"):
        files += map(_file_hash, map(str, sorted(Path(entry.name[3:]).expanduser().glob("*.*"))))
    made_by = libraries("torchvision", "timm", "transformers", "camfaith")
    return digest([said, entry.class_names, files, _source_of(entry), made_by])


def _head_key(head: Head) -> str:
    return source_hash(head.function) if isinstance(head, OwnHead) else head.name


def _source_of(entry: ModelEntry) -> str:
    """The source of a model that ships, or is a user's own, and the layer that a card names; "" for any other."""
    card = card_of(entry.name)
    name, layer = (card.architecture, card.layer or "") if card else (entry.name, "")
    if name in REFERENCES:
        return source_hash(build) + layer
    own = ":" in name and not name.startswith(("timm:", "hf:"))
    return (source_hash(load_attribute(name)) if own else "") + layer


def context_key(general: General, model: str, layer: str | None, classes: Sequence[str] | None) -> str:
    """The key of what all cells of a block share. `model` is the model's key, `layer` its layer in the suite, `classes`
    are the data set's class names."""
    judging = [module_hash(f"camfaith.benchmark.running.{name}") for name in _JUDGING]
    asked = [general.policy, general.seed, sorted(general.allow)]
    return digest([model, layer, *asked, classes, libraries(*NUMERICAL), judging])


@lru_cache(maxsize=16)
def libraries(*names: str) -> dict[str, str]:
    """The versions of packages."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _of_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "torchvision", "timm", "transformers")


def _file_hash(path: str) -> str | None:
    """A hash of a file's bytes; None if there is no such file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
