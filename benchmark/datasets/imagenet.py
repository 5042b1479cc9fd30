"""ImageNet: the validation photographs of the Large Scale Visual Recognition Challenge, with the objects' boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from camfaith.benchmark.datasets.annotation import read_annotation
from camfaith.benchmark.datasets.pictures import box_mask, find_pictures, path_below, printable, read_picture, required
from camfaith.benchmark.datasets.sample import Sample, SampleError
from camfaith.models.settings import Location, Text, checked

PICTURES = ("val", "ILSVRC/Data/CLS-LOC/val")
BOXES = ("bbox/val", "ILSVRC/Annotations/CLS-LOC/val")
CLASSES = 1000

WHERE = (
    "get ILSVRC2012_img_val.tar and ILSVRC2012_bbox_val_v3.tgz from https://image-net.org/challenges/LSVRC/2012 and "
    "sort them so that the folder holds val/WNID/ILSVRC2012_val_00000001.JPEG (as torchvision.datasets.ImageNet does) "
    "and, for masks, bbox/val/ILSVRC2012_val_00000001.xml"
)


class ImageNet:
    """The validation photographs of ImageNet in class folders, `root/val/WNID/*.JPEG`, or, as Kaggle has it,
    `root/ILSVRC/Data/CLS-LOC/val/WNID/*.JPEG`.

    The label is the class in torchvision's order, which is that of all WordNet ids. Where not all 1,000 folders are
    there, `root/meta.bin` (torchvision's) or `root/LOC_synset_mapping.txt` (Kaggle's) must say which there are.

    The mask is the union of the boxes of the class's objects, of `root/bbox/val/*.xml` or
    `root/ILSVRC/Annotations/CLS-LOC/val/*.xml`; there is none without these folders. Boxes are brought to the size of a
    picture that was shrunk.

    Only names are read until a sample is taken. A damaged picture or annotation raises `SampleError` when it is taken.
    Raises `FileNotFoundError`, which says where to get the data, where there are no pictures, and `ValueError` for a
    folder that is no class. Source: Russakovsky et al. 2015.
    """

    @checked
    def __init__(self, root: Location, *, name: Text = "imagenet") -> None:
        self._root = required(root, WHERE, PICTURES)
        self._pictures, self._boxes = _first(self._root, PICTURES), _first(self._root, BOXES)
        paths = [path for path in find_pictures(self._root / str(self._pictures)) if len(path.parts) == 2]
        if not paths:
            raise FileNotFoundError(f"no WNID/picture in {str(self._root / str(self._pictures))!r}: {WHERE}")
        index = _index(self._root, {path.parts[0] for path in paths})
        self.name = name
        self.ids: Sequence[str] = [printable(path) for path in paths]
        self.labels: Sequence[int | None] = [index[path.parts[0]] for path in paths]
        self.class_names: Sequence[str] | None = _names()
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Sample:
        path = self._paths[index]
        image = read_picture(path_below(self._root, f"{self._pictures}/{path.as_posix()}"))
        mask = None
        if self._boxes is not None:
            annotation = read_annotation(path_below(self._root, f"{self._boxes}/{path.stem}.xml"))
            mask = box_mask(annotation.boxes(path.parts[0], image.size), image.size)
            if mask.getbbox() is None:
                raise SampleError(f"no box of {path.parts[0]!r} in the annotation of {self.ids[index]!r}")
        return Sample(self.ids[index], image, self.labels[index], mask)


def _first(root: Path, folders: Sequence[str]) -> str | None:
    return next((folder for folder in folders if (root / folder).is_dir()), None)


def _index(root: Path, folders: set[str]) -> dict[str, int]:
    """The class of each WordNet id."""
    known, mapping = sorted(folders), root / "LOC_synset_mapping.txt"
    if (root / "meta.bin").is_file():
        from torchvision.datasets.imagenet import load_meta_file

        known = sorted(load_meta_file(root)[0])
    elif mapping.is_file():
        known = sorted(line.split()[0] for line in mapping.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(known) != CLASSES:
        raise ValueError(
            f"{len(known)} classes in {str(root)!r}, expected all {CLASSES}: put torchvision's meta.bin or Kaggle's "
            "LOC_synset_mapping.txt there, which say which class each folder is"
        )
    if unknown := sorted(folders - {*known}):
        raise ValueError(f"{unknown[0]!r} in {str(root)!r} is none of the {CLASSES} classes: move the folder away")
    return {wnid: label for label, wnid in enumerate(known)}


def _names() -> list[str]:
    from torchvision.models import SqueezeNet1_0_Weights

    return [str(name) for name in SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]]
