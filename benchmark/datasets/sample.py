"""What a data set hands out: one picture with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from PIL.Image import Image

Part = Literal["train", "val", "test"]
"""What a sample is for: a network learns from it, is chosen by it, or is judged by it."""
Label = int | tuple[int, ...] | None
"""A class index, or several where a picture shows several classes; None where it is not known."""


@dataclass(frozen=True)
class Sample:
    """One picture and what is known of it.

    `image` is a picture as it is displayed, RGB or grey of more than 8 bits, as `camfaith.models.load_picture` has it.
    `mask` (where the evidence is) and `content` (where the picture is not empty) are 8-bit grey pictures of the image's
    size, 255 inside and 0 outside. `label` is a class index, or a tuple of all that it shows. `target` is the class to
    explain, where the suite names several. `cluster` names what samples share that makes them dependent (a patient, a
    scene). `masks` are the masks of single classes, where `label` is several.
    """

    id: str
    image: Image
    label: Label = None
    mask: Image | None = None
    content: Image | None = None
    cluster: str | None = None
    target: str | int | None = None
    masks: Mapping[int, Image] = field(default_factory=dict)


class SampleError(ValueError):
    """A sample that cannot be used; the run goes on and says so in that sample's row."""


class Dataset(Protocol):
    """A finite list of samples whose ids are known before any picture is read.

    `dataset[i]` reads sample i and raises `SampleError` where it cannot be used.
    """

    name: str
    ids: Sequence[str]
    class_names: Sequence[str] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


def class_list(classes: Sequence[str] | None) -> list[str] | None:
    """The class names as a list. Raises `ValueError` where they are one text, or none at all."""
    if classes is None:
        return None
    if isinstance(classes, str) or not classes:
        raise ValueError(f"classes must be a list of class names, got {classes!r}")
    return list(classes)
