"""Samples of a data set turned into batches for one model; what cannot be used is named, not lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.benchmark.datasets import Sample, SampleError
from camfaith.benchmark.suite.identity import content_hash
from camfaith.benchmark.suite.opening import Bench
from camfaith.models.errors import kind_and_text


@dataclass(frozen=True)
class Ready:
    """A sample as the model takes it."""

    id: str
    image: Tensor
    label: int | None
    target: int | None
    """The class to explain, where the suite names several."""
    cluster: str | None
    mask: Tensor | None
    content: Tensor | None
    seed: int
    digest: str
    """A hash of what the data set says of it (`identity.content_hash`)."""


@dataclass(frozen=True)
class Complaint:
    """Why a sample could not be used, or, where it was `used`, why its label could not; `digest` is "" where it
    could not be read at all."""

    sample: str
    error: str
    used: bool = False
    digest: str = ""


def read(bench: Bench, indices: Iterable[int], seed: int, classes: int) -> tuple[list[Ready], list[Complaint]]:
    """The samples at `indices`, and a complaint for each that is unusable.

    A label that the model has no class for is a complaint; the sample is still used where the target does not need it.
    """
    ready, complaints = [], []
    for index in indices:
        name = bench.dataset.ids[index]
        try:
            sample = bench.dataset[index]
            label = None if isinstance(sample.label, tuple) else bench.class_of(sample.label)
            if label is not None and bench.classifier.head.classes and not 0 <= label < classes:
                text = f"label {label} is out of range: the model has {classes} classes"
                complaints.append(Complaint(name, text, bench.target != "label", content_hash(sample)))
                label = None
                if bench.target == "label":
                    continue
            elif label is None and bench.target == "label":
                text = "has no label, and target = 'label' asks for one"
                complaints.append(Complaint(name, text, digest=content_hash(sample)))
                continue
            ready.append(_ready(bench, sample, label, name, seed))
        except SampleError as error:
            complaints.append(Complaint(name, str(error)))
        except Exception as error:  # a data set of somebody else's: whatever it raises costs this sample alone
            complaints.append(Complaint(name, kind_and_text(error)))
    return ready, complaints


def _ready(bench: Bench, sample: Sample, label: int | None, name: str, seed: int) -> Ready:
    for what, plane in (("mask", sample.mask), ("content mask", sample.content)):
        if plane is not None and plane.size != sample.image.size:
            raise SampleError(f"the {what} is {plane.size}, the image {sample.image.size}; give one of the same size")
    prepare = bench.classifier.prepare_mask
    return Ready(
        id=name,
        image=bench.classifier.prepare(sample.image),
        label=label,
        target=None if sample.target is None else bench.targets[sample.target],
        cluster=sample.cluster,
        mask=None if sample.mask is None else prepare(sample.mask),
        content=None if sample.content is None else prepare(sample.content),
        seed=sample_seed(seed, name),
        digest=content_hash(sample),
    )


def sample_seed(seed: int, name: str) -> int:
    """The seed of everything random about one sample: the same wherever in the data set it stands."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "big")


def same_size(samples: Iterable[Ready]) -> list[list[Ready]]:
    """The samples in groups of one image size each, in order."""
    groups: dict[torch.Size, list[Ready]] = {}
    for sample in samples:
        groups.setdefault(sample.image.shape, []).append(sample)
    return list(groups.values())


def planes(masks: Iterable[Tensor | None], size: tuple[int, int]) -> Tensor | None:
    """B×H×W from masks that some samples lack (all False there); None where all do."""
    found = list(masks)
    if all(mask is None for mask in found):
        return None
    return torch.stack([torch.zeros(size, dtype=torch.bool) if mask is None else mask for mask in found])
