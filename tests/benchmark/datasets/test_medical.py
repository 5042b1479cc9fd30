"""APTOS 2019 and HAM10000 as they lie on disk, with the flaws that they have there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camfaith.benchmark.datasets import find, subset
from camfaith.benchmark.datasets.aptos2019 import GRADES, Aptos2019
from camfaith.benchmark.datasets.ham10000 import IMAGES, KINDS, MASKS, Ham10000
from camfaith.benchmark.datasets.layouts import write_aptos2019, write_ham10000
from camfaith.benchmark.datasets.sample import SampleError

Save = Callable[..., Path]


def eye(path: Path, brightness: int = 150) -> Path:
    """A field of radius 30 around (50, 40) in a frame of 120×80."""
    down, across = np.mgrid[:80, :120] + 0.5
    inside = np.hypot(across - 50, down - 40) < 30
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((inside[..., None] * np.array((brightness, 70, 30))).astype(np.uint8)).save(path)
    return path


def aptos(root: Path, rows: Sequence[str], **settings: Any) -> Aptos2019:
    (root / "train_images").mkdir(parents=True, exist_ok=True)
    (root / "train.csv").write_text("\n".join(["id_code,diagnosis", *rows]) + "\n")
    return Aptos2019(root, **settings)


def ham(root: Path, rows: Sequence[str]) -> Ham10000:
    (root / IMAGES[1]).mkdir(parents=True, exist_ok=True)
    (root / "HAM10000_metadata.csv").write_text("\n".join(["lesion_id,image_id,dx,age", *rows]) + "\n")
    return Ham10000(root)


def refusals(data: Any) -> list[str | None]:
    """Why each sample cannot be used; None where it can."""
    found: list[str | None] = []
    for index in range(len(data)):
        try:
            data[index]
            found.append(None)
        except SampleError as error:
            found.append(str(error))
    return found


def test_aptos_crops_picture_mask_and_content_to_the_field(tmp_path: Path, mask: Save) -> None:
    eye(tmp_path / "train_images/a.png")
    mask(tmp_path / "lesion_masks/a.png", (40, 30, 44, 35), size=(120, 80))
    cut, whole = aptos(tmp_path, ["a,3"])[0], aptos(tmp_path, ["a,3"], crop=False)[0]
    assert cut.mask is not None
    assert cut.content is not None
    assert whole.content is not None
    box = whole.content.getbbox()
    assert box is not None
    assert np.abs(np.array(box) - (20, 10, 80, 70)).max() <= 1
    assert (cut.label, cut.image.size, cut.mask.size) == (3, cut.content.size, cut.content.size)
    left, upper = box[:2]
    assert cut.mask.getbbox() == (40 - left, 30 - upper, 44 - left, 35 - upper)
    assert cut.image.tobytes() == whole.image.crop(box).tobytes()


def test_both_eyes_and_equal_files_are_of_one_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "train_images"
    for number, stem in enumerate(["12_left", "12_right", "a", "13_left", "c", "d"]):
        eye(folder / f"{stem}.png", 100 + 20 * number)
    shutil.copy(folder / "13_left.png", folder / "14_Right.PNG")  # one patient under two numbers
    shutil.copy(folder / "a.png", folder / "b.png")
    shutil.copy(folder / "12_left.png", folder / "c.png")
    for number, stem in enumerate(["8_left", "9_right", "14_left"]):
        eye(folder / f"{stem}.png", 250 - 20 * number)
    shutil.copy(folder / "8_left.png", folder / "9_left.png")
    shutil.copy(folder / "9_right.png", folder / "7.png")  # over 9, these are one with 8
    stems = ["12_left", "12_right", "a", "b", "13_left", "14_Right", "c", "d", "14_left"]
    stems += ["8_left", "9_left", "9_right", "7"]
    data = aptos(tmp_path, [f"{stem},0" for stem in stems])
    groups = [
        [s for s, c in zip(stems, data.clusters, strict=True) if c == name] for name in dict.fromkeys(data.clusters)
    ]
    assert groups == [
        ["12_left", "12_right", "c"],
        ["a", "b"],
        ["13_left", "14_Right", "14_left"],
        ["d"],
        ["8_left", "9_left", "9_right", "7"],
    ]
    assert [data[index].cluster for index in range(len(data))] == data.clusters
    part = subset(data, 5)
    assert [part[index].cluster for index in range(5)] == part.clusters  # type: ignore[attr-defined]


def test_what_is_wrong_in_aptos_costs_its_own_row_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "train_images"
    for stem in ("good", "twice", "bad", "none", "cut"):
        eye(folder / f"{stem}.png")
    for name in ("upper.PNG", "photo.JPG", "twice.jpg"):
        eye(folder / name)
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:200])
    (folder / "._good.png").write_bytes(b"of a mac")
    Image.new("RGB", (2000, 1000)).save(folder / "huge.png")
    eye(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path.parent / "outside.png")
    eye(tmp_path.parent / "outside.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999_999)
    rows = ["good,0", "upper,1", "photo,2", "absent,0", "cut,1", "huge,2", "twice,3", "bad,5", "none,", "good,0"]
    data = aptos(tmp_path, [*rows, "../secret,1", "link,1", ",1"])
    names = ["good", "upper", "photo", "absent", "cut", "huge", "twice", "bad", "none", "good#2", "../secret", "link"]
    assert data.ids == [*names, "line 14"]
    expected = [
        *[None] * 3,
        "train.csv line 5: no picture 'absent' in 'train_images', with any suffix",
        "train.csv line 6: '.*cut.png' is damaged or cut short",
        "train.csv line 7: '.*huge.png' is too large to be read safely",
        "train.csv line 8: several pictures 'twice': .*twice.jpg, .*twice.png; keep one",
        "train.csv line 9: label '5' is out of range: class indices go from 0 to 4",
        "train.csv line 10: no diagnosis is given: expected a grade from 0 to 4",
        "train.csv line 11: duplicate id 'good': remove the row",
        r"train.csv line 12: no picture '\.\./secret'",
        "train.csv line 13: path 'train_images/link.png' leads out of",
        "train.csv line 14: no picture ''",
    ]
    for index, (why, reason) in enumerate(zip(refusals(data), expected, strict=True)):
        assert (why is None) == (reason is None), why
        if reason is not None:
            with pytest.raises(SampleError, match=reason):
                data[index]


def test_ham_reads_both_parts_masks_and_lesions(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / IMAGES[0] / "ISIC_1.jpg", (10, 20, 30))
    picture(tmp_path / IMAGES[1] / "ISIC_2.jpg", (200, 100, 90))
    picture(tmp_path / IMAGES[1] / "ISIC_3.JPG")
    mask(tmp_path / MASKS / "ISIC_2_segmentation.png", (1, 1, 4, 3))
    data = ham(tmp_path, ["HAM_7,ISIC_1,nv,30", "HAM_7,ISIC_2,mel,", "HAM_8,ISIC_3,akiec,60", ",ISIC_1,bcc,1"])
    assert (data.ids[:3], data.labels) == (["ISIC_1", "ISIC_2", "ISIC_3"], [5, 4, 0, 1])
    assert data.clusters == ["HAM_7", "HAM_7", "HAM_8", None]
    assert data.class_names == KINDS == tuple(sorted(KINDS))
    assert [data[index].label for index in range(3)] == data.labels[:3]
    assert [data[index].cluster for index in range(3)] == data.clusters[:3]
    assert np.abs(np.subtract(data[0].image.getpixel((2, 2)), (10, 20, 30))).max() < 8
    assert (data[0].mask, data[0].content) == (None, None)
    assert data[1].mask is not None
    assert data[1].mask.getbbox() == (1, 1, 4, 3)


def test_what_is_wrong_in_ham_costs_its_own_row_alone(tmp_path: Path, picture: Save, mask: Save) -> None:
    for place, number in ((0, 1), (1, 1), (0, 2), (0, 3)):
        picture(tmp_path / IMAGES[place] / f"ISIC_{number}.jpg")
    mask(tmp_path / MASKS / "ISIC_3_segmentation.png", (0, 0, 1, 1), size=(3, 2))
    data = ham(tmp_path, ["L,ISIC_1,nv,", "L,ISIC_2,scc,", "L,ISIC_2,,", "L,ISIC_3,nv,", "L,ISIC_4,nv,"])
    for index, reason in enumerate(
        (
            "line 2: several pictures 'ISIC_1'",
            "line 3: label 'scc' is neither an index nor the name of one of the 7 classes",
            "line 4: duplicate id 'ISIC_2'",
            "line 5: mask .* is 3x2 but its picture is displayed at 6x4",
            "line 6: no picture 'ISIC_4' in 'HAM10000_images_part_1' or 'HAM10000_images_part_2'",
        )
    ):
        with pytest.raises(SampleError, match=reason):
            data[index]


@pytest.mark.parametrize(
    ("name", "missing", "where"),
    [
        ("aptos2019", "train.csv", r"kaggle\.com/c/aptos2019-blindness-detection.* train_images/ID_CODE\.png"),
        ("ham10000", "HAM10000_metadata.csv", r"doi\.org/10\.7910/DVN/DBW86T .* HAM10000_images_part_1/IMAGE_ID"),
        ("imagenet", "val or ILSVRC/Data/CLS-LOC/val", r"image-net\.org.* val/WNID/ILSVRC2012_val_00000001\.JPEG"),
        ("voc", "list 'val' of VOC 2012", r"host\.robots\.ox\.ac\.uk/pascal/VOC .* VOCdevkit/VOC2012"),
    ],
)
def test_a_missing_data_set_says_where_to_get_it_and_how_it_must_lie(
    tmp_path: Path, name: str, missing: str, where: str
) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no folder at '.*absent': get .*https?://.*{where}"):
        find(name)(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=rf"no {missing} in .*: get .*{where}"):
        find(name)(tmp_path)


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train.csv").write_text("id,level\na,0\n")
    with pytest.raises(ValueError, match=r"no column 'id_code' in .*columns found: 'id', 'level'"):
        Aptos2019(tmp_path)


def test_a_generated_aptos_is_read_back_as_it_was_drawn(tmp_path: Path) -> None:
    write_aptos2019(tmp_path / "a", 10, size=64, seed=2)
    write_aptos2019(tmp_path / "b", 10, size=64, seed=2)
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(written) == 21
    assert all((tmp_path / "a" / one).read_bytes() == (tmp_path / "b" / one).read_bytes() for one in written)
    data = Aptos2019(tmp_path / "a")
    assert [data[index].label for index in range(10)] == [*range(len(GRADES))] * 2
    for index in range(10):
        found = data[index]
        assert found.mask is not None
        assert (found.mask.getbbox() is None) == (found.label == 0)
        assert abs(found.image.width - found.image.height) <= 2  # the field, without the frame
        assert found.image.width < 64


def test_a_generated_ham_is_read_back_as_it_was_drawn(tmp_path: Path) -> None:
    write_ham10000(tmp_path, 21, size=64)
    data = Ham10000(tmp_path, field=True)
    assert sorted(data.labels) == sorted([*range(7)] * 3)
    assert len(set(data.clusters)) == 14
    shown = [data[index] for index in range(21)]
    assert all(sample.mask is not None and sample.mask.getbbox() for sample in shown)
    assert any(sample.content is not None and sample.content.getextrema() == (0, 255) for sample in shown)
    assert len(list((tmp_path / IMAGES[1]).iterdir())) == 10
