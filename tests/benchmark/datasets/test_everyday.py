"""ImageNet and Pascal VOC as they lie on disk: classes, boxes and outlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camfaith.benchmark.datasets import per_class, subset
from camfaith.benchmark.datasets.imagenet import ImageNet
from camfaith.benchmark.datasets.sample import SampleError
from camfaith.benchmark.datasets.voc import OBJECTS, Voc

Save = Callable[..., Path]
WNIDS = [f"n{number:08d}" for number in range(3, 3003, 3)]


def annotate(path: Path, size: tuple[int, int], *objects: tuple[str, Sequence[float]], head: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    text = f"{head}<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    for name, box in objects:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        text += f"<object><name>{name}</name><bndbox>" + "".join(f"<{k}>{v}</{k}>" for k, v in sides)
        text += "</bndbox></object>"
    path.write_text(text + "</annotation>")


@pytest.fixture
def imagenet(tmp_path: Path, picture: Save) -> Path:
    """Three pictures of the classes 1 and 998, with Kaggle's list of classes."""
    for name in (f"{WNIDS[998]}/v1.JPEG", f"{WNIDS[1]}/v2.JPEG", f"{WNIDS[1]}/v3.JPEG"):
        picture(tmp_path / "val" / name, size=(40, 20))
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} a name, another\n" for wnid in WNIDS))
    return tmp_path


def test_imagenet_has_torchvisions_classes_and_no_masks_without_boxes(imagenet: Path) -> None:
    data = ImageNet(imagenet)
    assert data.ids == [f"{WNIDS[1]}/v2.JPEG", f"{WNIDS[1]}/v3.JPEG", f"{WNIDS[998]}/v1.JPEG"]
    assert data.labels == [1, 1, 998]
    assert (data[2].label, data[2].mask, data[2].image.size) == (998, None, (40, 20))
    assert data.class_names is not None
    assert [data.class_names[index] for index in (0, 1, 999)] == ["tench", "goldfish", "toilet tissue"]


def test_the_classes_may_be_of_torchvisions_file_or_of_all_folders(imagenet: Path) -> None:
    (imagenet / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(
        ValueError, match=r"2 classes in '.*', expected all 1000: put torchvision's meta\.bin or Kaggle's"
    ):
        ImageNet(imagenet)
    torch.save((dict.fromkeys(reversed(WNIDS), ("a name",)), []), imagenet / "meta.bin")
    assert ImageNet(imagenet).labels == [1, 1, 998]
    (imagenet / "val/n99999999").mkdir()
    (imagenet / "val" / WNIDS[1] / "v2.JPEG").rename(imagenet / "val/n99999999/v2.JPEG")
    with pytest.raises(ValueError, match=r"'n99999999' in .* is none of the 1000 classes"):
        ImageNet(imagenet)


@pytest.mark.parametrize("folder", ["bbox/val", "ILSVRC/Annotations/CLS-LOC/val"])
def test_the_mask_is_the_union_of_the_classes_boxes_at_the_pictures_size(imagenet: Path, folder: str) -> None:
    boxes = imagenet / folder
    own = [(WNIDS[998], box) for box in ((0, 0, 100, 50), (300, 150, 420, 210))]
    annotate(boxes / "v1.xml", (400, 200), *own, ("n1", (0, 0, 400, 200)))
    annotate(boxes / "v2.xml", (20, 40), (WNIDS[1], (0, 0, 5, 5)))
    annotate(boxes / "v3.xml", (40, 20), (WNIDS[2], (0, 0, 5, 5)))
    data = ImageNet(imagenet)
    expected = np.zeros((20, 40), bool)
    expected[:5, :10] = expected[15:, 30:] = True
    assert (np.asarray(data[2].mask) == expected * 255).all()
    with pytest.raises(SampleError, match="the boxes are for a picture of 20x40, but it is displayed at 40x20"):
        data[0]
    with pytest.raises(SampleError, match=f"no box of '{WNIDS[1]}' in the annotation of '{WNIDS[1]}/v3.JPEG'"):
        data[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><size>", "cannot be read"),
        ("<annotation/>", "no 'size/width' in 'annotation'"),
        ("<annotation><size><width>0</width><height>4</height></size></annotation>", "a picture of 0x4"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "it has a DOCTYPE"),
        (None, "no annotation at"),
    ],
)
def test_a_bad_annotation_costs_its_own_picture(imagenet: Path, text: str | None, reason: str) -> None:
    annotate(imagenet / "bbox/val/v2.xml", (40, 20), (WNIDS[1], (0, 0, 5, 5)))
    if text is not None:
        (imagenet / "bbox/val/v3.xml").write_text(text)
    data = ImageNet(imagenet)
    assert data[0].mask is not None
    with pytest.raises(SampleError, match=reason):
        data[1]


def outlines(path: Path, classes: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(classes.astype(np.uint8), "P")
    image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)


def voc(root: Path, picture: Save, **settings: Any) -> Voc:
    """Two cats; a cat and a dog; one without outlines; one of an unknown class; one that is not listed."""
    folder = root / "VOCdevkit/VOC2012"
    for name in ("1", "2", "3", "4", "5"):
        picture(folder / f"JPEGImages/{name}.jpg", size=(8, 6))
    box = (1, 1, 3, 3)
    annotate(folder / "Annotations/1.xml", (8, 6), ("cat", box), ("cat", (5.5, 2, 8, 6)))
    annotate(folder / "Annotations/2.xml", (8, 6), ("dog", box), ("cat", box))
    annotate(folder / "Annotations/3.xml", (8, 6), ("bird", box))
    annotate(folder / "Annotations/4.xml", (8, 6), ("unicorn", box))
    for name in ("1", "2", "4"):
        classes = np.zeros((6, 8))
        classes[1:3, 1:4] = 8
        classes[4:, 5:] = 12 if name == "2" else 8
        classes[3] = 255  # a rim, of no class
        outlines(folder / f"SegmentationClass/{name}.png", classes)
    listed = folder / "ImageSets/Segmentation/val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("1\n2\n3\n4\n../../../6\n")
    return Voc(root, **settings)


def test_voc_has_a_label_or_several_and_the_objects_of_them_as_mask(tmp_path: Path, picture: Save) -> None:
    data = voc(tmp_path, picture)
    cat, dog, bird = (OBJECTS.index(name) for name in ("cat", "dog", "bird"))
    assert (cat, dog, len(OBJECTS)) == (7, 11, 20)
    assert (data.ids, data.labels) == (["1", "2", "3", "4", "6"], [cat, (cat, dog), bird, None, None])
    upper, lower = np.zeros((2, 6, 8), bool)
    upper[1:3, 1:4] = lower[4:, 5:] = True
    both = (upper | lower) * 255
    assert (np.asarray(data[0].mask) == both).all()
    assert (np.asarray(data[1].mask) == both).all()
    each = per_class(subset(data), "label")
    found = {each.ids[index]: each[index] for index in range(len(each)) if each.ids[index][0] in "12"}
    assert {name: sample.cluster for name, sample in found.items()} == {"1#cat": "1", "2#cat": "2", "2#dog": "2"}
    for name, expected in (("1#cat", upper | lower), ("2#cat", upper), ("2#dog", lower)):
        assert (np.asarray(found[name].mask) == expected * 255).all()


def test_what_is_wrong_in_voc_costs_its_own_picture(tmp_path: Path, picture: Save) -> None:
    data = voc(tmp_path, picture)
    for index, reason in (
        (2, r"no file at '.*SegmentationClass/3\.png'"),
        (3, "object 'unicorn' in the annotation of '4' is no class of VOC"),
        (4, "must be relative and without"),
    ):
        with pytest.raises(SampleError, match=reason):
            data[index]
    outlines(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/1.png", np.zeros((3, 4)))
    with pytest.raises(SampleError, match="is 4x3 but its picture is displayed at 8x6"):
        data[0]
    Image.new("RGB", (8, 6)).save(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/1.png")
    with pytest.raises(SampleError, match="whose pixels are class numbers"):
        data[0]
