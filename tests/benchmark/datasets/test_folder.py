"""A folder lists its pictures and their classes, and refuses the rest with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from camfaith.benchmark.datasets.folder import Folder
from camfaith.benchmark.datasets.fundus import photograph
from camfaith.benchmark.datasets.sample import SampleError

Save = Callable[..., Path]


def written(root: Path, picture: Save, names: str) -> None:
    """Files and folders by their names, of which those of pictures are pictures."""
    for name in names.split():
        if name.lower().endswith((".png", ".jpg")):
            picture(root / name)
        elif name.endswith("/"):
            (root / name).mkdir()
        else:
            (root / name).write_text("text")


@pytest.mark.parametrize(
    ("names", "options", "classes", "labels"),
    [
        ("a/1.PNG a/.2.png a/.cache/3.png .hidden/4.png a/notes.txt labels.csv", {}, ["a"], {"a/1.PNG": 0}),
        ("a/1.png a/2.jpg", {"extensions": [".JPG"]}, ["a"], {"a/2.jpg": 0}),
        ("2.png 1.png notes/", {}, None, {"1.png": None, "2.png": None}),
        ("1.png", {"classes": ["cat", "dog"]}, ["cat", "dog"], {"1.png": None}),
        ("b/1.png a/", {"classes": ["a", "b"]}, ["a", "b"], {"b/1.png": 1}),
        (
            "cat/1.png dog/1.png",
            {"classes": ["dog", "fish", "cat"]},
            ["dog", "fish", "cat"],
            {"cat/1.png": 2, "dog/1.png": 0},
        ),
        ("dog/1.png", {"classes": ["crane", "dog", "crane"]}, ["crane", "dog", "crane"], {"dog/1.png": 1}),
    ],
    ids=["hidden", "extensions", "no class", "given names", "an empty class", "order", "names twice"],
)
def test_pictures_and_classes_are_told_from_the_rest(
    tmp_path: Path, picture: Save, names: str, options: Any, classes: Any, labels: dict[str, int | None]
) -> None:
    written(tmp_path, picture, names)
    data = Folder(tmp_path, **options)
    assert data.class_names == classes
    assert dict(zip(data.ids, data.labels, strict=True)) == labels
    assert [data[index].label for index in range(len(data))] == list(labels.values())


@pytest.mark.parametrize(
    ("names", "options", "reason"),
    [
        ("a/1.png", {"extensions": [".bmp"]}, r"no images in .*: expected CLASS/picture .*\.bmp"),
        ("", {}, r"no images in .*: expected CLASS/picture or picture"),
        ("a/1.png stray.png", {}, r"pictures beside class folders, first 'stray\.png'"),
        ("b/1.png a/", {}, r"no images in class folder '.*a': remove it, or give classes="),
        ("catt/1.png", {"classes": ["dog", "cat"]}, r"unknown class 'catt': did you mean 'cat'\?.* is '.*catt'"),
        ("crane/1.png", {"classes": ["crane", "dog", "crane"]}, "class folder 'crane' is there twice in classes"),
        ("cat/1.png", {"classes": "cat"}, "classes must be a list"),
        ("cat/1.png", {"classes": []}, "classes must be a list"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(
    tmp_path: Path, picture: Save, names: str, options: Any, reason: str
) -> None:
    written(tmp_path, picture, names)
    with pytest.raises(ValueError, match=reason):
        Folder(tmp_path, **options)


def test_a_folder_orders_as_torchvisions_image_folder(tmp_path: Path, picture: Save) -> None:
    for name in ("n2/b.png", "n10/a.png", "n1/x/c.png", "n1/d.png", "Z/e.png", "n1 b/4.png"):
        picture(tmp_path / name)
    theirs, ours = ImageFolder(tmp_path), Folder(tmp_path)
    assert (ours.name, len(ours), ours.class_names) == (tmp_path.name, 6, theirs.classes)
    assert ours.ids == ["Z/e.png", "n1/d.png", "n1/x/c.png", "n1 b/4.png", "n10/a.png", "n2/b.png"]
    expected = {Path(file).relative_to(tmp_path).as_posix(): label for file, label in theirs.samples}
    assert dict(zip(ours.ids, ours.labels, strict=True)) == expected
    with pytest.raises(FileNotFoundError, match=r"no folder at '.*absent'"):
        Folder(tmp_path / "absent")


def test_a_folder_hands_out_what_its_files_show(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "a/1.png", (1, 2, 3))
    picture(tmp_path / "b/2.png", (4, 5, 6))
    data = Folder(tmp_path, name="mine")
    assert data.name == "mine"
    sample = data[1]
    assert (sample.id, sample.label, sample.image.getpixel((5, 3))) == ("b/2.png", 1, (4, 5, 6))
    assert (sample.mask, sample.content, sample.cluster) == (None, None, None)
    assert [s.id for s in (data[0], data[-1])] == ["a/1.png", "b/2.png"]
    with pytest.raises(IndexError):
        data[2]


def test_masks_lie_at_the_same_relative_path(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / "set/a/1.v2.jpg")
    picture(tmp_path / "set/a/2.jpg")
    mask(tmp_path / "masks/a/1.v2.png", (1, 0, 3, 2))
    data = Folder(tmp_path / "set", masks=tmp_path / "masks")
    assert np.asarray(data[0].mask).tolist() == [[0, 255, 255, 0, 0, 0]] * 2 + [[0] * 6] * 2
    assert data[1].mask is None


def test_a_masks_folder_within_the_set_is_no_class(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / "a/1.jpg")
    mask(tmp_path / "masks/a/1.png", (0, 0, 6, 4))
    data = Folder(tmp_path, masks=tmp_path / "masks")
    assert (data.class_names, data.ids) == (["a"], ["a/1.jpg"])
    assert np.asarray(data[0].mask).tolist() == [[255] * 6] * 4


def test_masks_may_lie_beside_pictures_of_another_extension(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / "a/1.jpg")
    mask(tmp_path / "a/1.png", (0, 0, 1, 1))
    with pytest.raises(ValueError, match=r"masks lie beside the pictures: give extensions=.* without '\.png'"):
        Folder(tmp_path, masks=tmp_path)
    data = Folder(tmp_path, masks=tmp_path, extensions=[".jpg"])
    assert np.count_nonzero(np.asarray(data[0].mask)) == 1


def test_masks_that_fit_no_picture_or_not_its_size_are_refused(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / "set/a/1.jpg")
    mask(tmp_path / "masks/1.png", (0, 0, 6, 4))
    with pytest.raises(ValueError, match=r"no mask in '.*masks' fits a picture: expected names like 'a/1\.png'"):
        Folder(tmp_path / "set", masks=tmp_path / "masks")
    mask(tmp_path / "masks/a/1.png", (0, 0, 1, 1), size=(3, 2))
    with pytest.raises(SampleError, match="is 3x2 but its picture is displayed at 6x4"):
        Folder(tmp_path / "set", masks=tmp_path / "masks")[0]


def test_a_folder_reads_nothing_but_names_until_a_sample_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_text("not a picture")
    (tmp_path / "a/2.jpg").touch()
    data = Folder(tmp_path)
    assert data.ids == ["a/1.jpg", "a/2.jpg"]
    with pytest.raises(SampleError, match=r"1\.jpg' is not a picture"):
        data[0]
    with pytest.raises(SampleError, match=r"2\.jpg' is empty \(0 bytes\)"):
        data[1]


def test_links_are_followed_but_not_in_circles(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "elsewhere/1.png")
    (tmp_path / "set/a").mkdir(parents=True)
    (tmp_path / "set/a/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/a/circle").symlink_to(tmp_path / "set")
    (tmp_path / "set/a/broken.png").symlink_to(tmp_path / "absent.png")
    data = Folder(tmp_path / "set")
    assert data.ids == ["a/broken.png", "a/linked/1.png"]
    with pytest.raises(SampleError, match=r"no file at"):
        data[0]


def test_names_that_are_not_utf8_get_ids_that_a_table_can_hold(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "a/1.png")
    try:
        os.rename(tmp_path / "a/1.png", os.fsencode(tmp_path / "a") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    data = Folder(tmp_path)
    assert data.ids == ["a/caf\\udce9.png"]
    assert data[0].image.size == (6, 4)


def test_the_field_is_found_in_every_picture_if_asked(tmp_path: Path) -> None:
    eye = photograph(3, size=64)
    Image.fromarray(eye.pixels).save(tmp_path / "1.png")
    assert Folder(tmp_path)[0].content is None
    assert ((np.asarray(Folder(tmp_path, field=True)[0].content) > 0) == eye.content).mean() > 0.98
