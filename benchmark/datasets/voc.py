"""Pascal VOC: everyday photographs of objects of twenty classes, with their outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision.datasets import VOCSegmentation

from camfaith.benchmark.datasets.annotation import read_annotation
from camfaith.benchmark.datasets.pictures import mask_of, path_below, read_classes, read_picture, required
from camfaith.benchmark.datasets.sample import Label, Sample, SampleError
from camfaith.models.settings import Location, Text, checked

WHERE = (
    "get Pascal VOC from http://host.robots.ox.ac.uk/pascal/VOC (or torchvision.datasets.VOCSegmentation(root, "
    "download=True)) and unpack it so that the folder holds VOCdevkit/VOC2012 with ImageSets/Segmentation, JPEGImages, "
    "Annotations and SegmentationClass"
)

OBJECTS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class Voc:
    """The segmented photographs of Pascal VOC as torchvision has them, `root/VOCdevkit/VOC2012/...`.

    The label is the class of the objects (of `Annotations`), or several where the picture shows several. The mask is
    the objects (of `SegmentationClass`, without the rims, which are of no class); where a sample is explained for one
    of several classes, it is that class's objects.

    No picture is read until a sample is taken. What is missing or damaged raises `SampleError` when it is taken. Raises
    `FileNotFoundError`, which says where to get the data, where the list of pictures is not there. Source: Everingham
    et al. 2010.
    """

    @checked
    def __init__(
        self,
        root: Location,
        *,
        year: Literal["2007", "2008", "2009", "2010", "2011", "2012"] = "2012",
        image_set: Literal["train", "val", "trainval", "test"] = "val",
        name: Text = "voc",
    ) -> None:
        self._root = required(root, WHERE)
        try:
            listed = VOCSegmentation(self._root, year, image_set)
        except (RuntimeError, OSError) as error:
            raise FileNotFoundError(f"no list {image_set!r} of VOC {year} in {str(self._root)!r}: {WHERE}") from error
        self._files = [
            tuple(Path(file).relative_to(self._root).as_posix() for file in pair)
            for pair in zip(listed.images, listed.masks, strict=True)
        ]
        self.name = name
        self.ids: Sequence[str] = [Path(file).stem for file in listed.images]
        self.class_names: Sequence[str] | None = OBJECTS
        self._problems: dict[int, str] = {}
        self.labels: Sequence[Label] = [self._label(index) for index in range(len(self.ids))]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Sample:
        if index in self._problems:
            raise SampleError(self._problems[index])
        picture, outlines = self._files[index]
        image = read_picture(path_below(self._root, picture))
        shown = np.asarray(read_classes(path_below(self._root, outlines), image.size))
        label = self.labels[index]
        several = label if isinstance(label, tuple) else ()
        masks = {one: mask_of(shown == one + 1) for one in several}
        return Sample(self.ids[index], image, label, mask_of((shown > 0) & (shown <= len(OBJECTS))), masks=masks)

    def _label(self, index: int) -> Label:
        annotation = Path(self._files[index][0]).parents[1] / "Annotations" / f"{self.ids[index]}.xml"
        try:
            found = read_annotation(path_below(self._root, annotation.as_posix())).objects
        except SampleError as error:
            self._problems[index] = str(error)
            return None
        if unknown := {name for name, _ in found} - {*OBJECTS}:
            self._problems[index] = (
                f"object {min(unknown)!r} in the annotation of {self.ids[index]!r} is no class of VOC"
            )
            return None
        labels = sorted({OBJECTS.index(name) for name, _ in found})
        return labels[0] if len(labels) == 1 else tuple(labels)
