"""A table lists its rows, and refuses those that cannot be used with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from camfaith.benchmark.datasets.fundus import photograph
from camfaith.benchmark.datasets.sample import Sample, SampleError
from camfaith.benchmark.datasets.table import Table

Save = Callable[..., Path]


def table(path: Path, text: str, **options: Any) -> Table:
    path.write_text(text, encoding="utf-8", newline="")
    return Table(path, **options)


def inside(image: Image.Image | None) -> Any:
    assert image is not None
    return np.asarray(image).tolist()


def refusal(data: Table, index: int = 0) -> str:
    with pytest.raises(SampleError) as caught:
        data[index]
    return str(caught.value)


def test_white_is_said_of_the_whole_table(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "1.png")
    assert inside(table(tmp_path / "t.csv", "file\n1.png\n", white=4095)[0].image) == [[0, 1]]


def test_a_table_hands_out_what_its_columns_say(tmp_path: Path, picture: Save, mask: Save) -> None:
    picture(tmp_path / "p/1.png", (1, 2, 3))
    picture(tmp_path / "p/2.png", (4, 5, 6))
    mask(tmp_path / "m/1.png", (0, 0, 1, 1))
    mask(tmp_path / "m/content.png", (0, 0, 6, 3))
    data = table(
        tmp_path / "list.csv",
        "id,file,label,mask,content,cluster,remark\n"
        "one,p/1.png,3,m/1.png,m/content.png,patient 7,whatever\n"
        ",./p/2.png,,,,,\n",
    )
    assert (data.name, data.ids, data.labels, data.class_names) == ("list", ["one", "p/2.png"], [3, None], None)
    assert data.clusters == ["patient 7", None]
    first, second = data[0], data[1]
    assert (first.id, first.label, first.cluster, first.image.getpixel((0, 0))) == ("one", 3, "patient 7", (1, 2, 3))
    assert np.count_nonzero(inside(first.mask)) == 1
    assert inside(first.content) == [[255] * 6] * 3 + [[0] * 6]
    assert second == Sample("p/2.png", second.image)
    assert second.image.getpixel((0, 0)) == (4, 5, 6)
    assert len(data) == 2
    with pytest.raises(IndexError):
        data[2]


def test_a_table_may_name_its_root_and_itself(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "pictures/1.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    data = table(tmp_path / "lists/l.csv", "file\n1.png\n", root=tmp_path / "link", name="mine")
    assert (data.name, data.labels, data[0].image.size) == ("mine", [None], (6, 4))
    with pytest.raises(FileNotFoundError, match=r"no folder at '.*absent'"):
        Table(tmp_path / "lists/l.csv", root=tmp_path / "absent")


def test_byte_order_marks_quotes_crlf_and_blank_lines_are_read(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "a, b.png")
    picture(tmp_path / "ü.png")
    text = '\ufefffile , label\r\n"a, b.png","1"\r\n\r\n,\r\nü.png, 2\r\n'
    data = table(tmp_path / "list.csv", text)
    assert (data.ids, data.labels) == (["a, b.png", "ü.png"], [1, 2])
    assert data[0].image.size == data[1].image.size == (6, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\n1.png,1\n", r"no column 'file' in .*, columns found: 'path', 'label'"),
        ("file;label\n1.png;1\n", "columns found: 'file;label'; commas separate columns"),
        ("", "columns found: none"),
        ("file,label,label\n1.png,1,2\n", "column 'label' is there twice"),
        ("file,label\n\n,\n", r"no images in '.*list\.csv': expected one row a picture"),
        ('file\n"a.png\nb.png\n', r"list\.csv' line 3 is not CSV"),
    ],
)
def test_what_is_no_table_of_pictures_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        table(tmp_path / "list.csv", text)


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("file\né.png\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list\.csv' is not UTF-8 .*save it as 'CSV UTF-8'"):
        Table(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../secret.png", "p/../../secret.png", "p/../1.png", "C:\\1.png", "p\\..\\1.png", "\\1.png"]
)
@pytest.mark.parametrize("column", ["file", "mask", "content"])
def test_paths_that_are_absolute_or_go_up_are_refused(tmp_path: Path, file: str, column: str, picture: Save) -> None:
    picture(tmp_path / "root/1.png")
    (tmp_path / "root/p").mkdir()
    picture(tmp_path / "secret.png")
    header, row = ("file", file) if column == "file" else (f"file,{column}", f"1.png,{file}")
    data = table(tmp_path / "root/list.csv", f"{header}\n{row}\n")
    assert f"list.csv line 2: path {file!r} must be relative and without '..'" in refusal(data)


def test_links_that_lead_out_of_the_root_are_refused(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "secret.png")
    picture(tmp_path / "secrets/1.png")
    picture(tmp_path / "root/kept.png")
    (tmp_path / "root/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "secrets")
    (tmp_path / "root/within.png").symlink_to(tmp_path / "root/kept.png")
    (tmp_path / "root/circle.png").symlink_to(tmp_path / "root/circle.png")
    text = "file,mask\nlink.png,\nlinked/1.png,\nwithin.png,\nkept.png,link.png\ncircle.png,\n"
    data = table(tmp_path / "root/list.csv", text)
    for index in (0, 1, 3):
        assert "leads out of" in refusal(data, index)
    assert data[2].image.size == (6, 4)
    assert "circle.png" in refusal(data, 4)


def test_rows_whose_file_cannot_be_used_say_so_when_taken(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    data = table(tmp_path / "list.csv", "file,label\ntext.jpg,0\nabsent.jpg,0\n,5\nnul\0.png,0\n")
    assert data.ids == ["text.jpg", "absent.jpg", "line 4", "nul\0.png"]
    assert re.match(r"list\.csv line 2: '.*text\.jpg' is not a picture", refusal(data, 0))
    assert "line 3: no file at" in refusal(data, 1)
    assert "line 4: no file is given" in refusal(data, 2)
    assert "cannot be followed" in refusal(data, 3)


def test_labels_are_indices_or_names_of_given_classes(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "1.png")
    rows = "".join(f"i{i},1.png,{label}\n" for i, label in enumerate(["0", "2", "dog", "1.0", ""]))
    data = table(tmp_path / "list.csv", "id,file,label\n" + rows, classes=["cat", "dog", "sea lion"])
    assert data.class_names == ["cat", "dog", "sea lion"]
    assert data.labels == [0, 2, 1, 1, None]
    assert [data[i].label for i in range(5)] == [0, 2, 1, 1, None]
    assert table(tmp_path / "t.csv", "file,label\n1.png,3\n", **TWINS)[0].label == 3, "the index and the name of one"
    assert table(tmp_path / "a.csv", "id,file,label\na,1.png,999\nb,1.png,-1\nc,1.png,cat\n").labels == [
        999,
        None,
        None,
    ]


ANIMALS = {"classes": ["cat", "dog", "fish"]}
TWINS = {"classes": ["1", "crane", "crane", "3"]}


@pytest.mark.parametrize(
    ("header", "row", "options", "reason"),
    [
        ("file,label", "a, b.png,1", {}, "list.csv line 2: the row has 3 fields but the header has 2"),
        ("file,label", "c.png", {}, "list.csv line 2: the row has 1 fields but the header has 2"),
        ("file,label", "1.png,-1", {}, "label '-1' is out of range: class indices go from 0"),
        ("file,label", "1.png,cat", {}, "'cat' is not a class index: give one, or classes=[...] to use names"),
        ("file,label", "1.png,3", ANIMALS, "label '3' is out of range: class indices go from 0 to 2"),
        ("file,label", "1.png,-1", ANIMALS, "label '-1' is out of range: class indices go from 0 to 2"),
        ("file,label", "1.png,bird", ANIMALS, "'bird' is neither an index nor the name of one of the 3 classes"),
        ("file,label", "1.png,1.5", ANIMALS, "label '1.5' is neither an index"),
        ("file,label", "1.png,nan", ANIMALS, "label 'nan' is neither an index"),
        ("file,label", "1.png,²", ANIMALS, "label '²' is neither an index"),
        ("file,label", "1.png,1", TWINS, "label '1' could be any of the classes [0, 1]"),
        ("file,label", "1.png,crane", TWINS, "label 'crane' could be any of the classes [1, 2]"),
        *(
            ("file,boxes", f"1.png,{box}", {}, f"box {box} leaves its picture, displayed at 6x4")
            for box in ("0 0 7 4", "0 0 6 5", "-1 0 2 2", "0 -1 2 2")
        ),
        *(("file,boxes", f"1.png,{box}", {}, f"box {box} is empty") for box in ("1 1 1 3", "0 1 2 1", "3 0 2 2")),
        ("file,boxes", "1.png,0 0 1 1; 3 0 2 2", {}, "box 3 0 2 2 is empty"),
        ("file,boxes", "1.png,0 0 1", {}, "box '0 0 1' is not four whole numbers"),
        ("file,boxes", "1.png,0 0 1.5 2", {}, "round them to pixels"),
        ("file,boxes", "1.png,0 0 one 2", {}, "is not four whole numbers"),
        ("file,x0,y0,x1,y1", "1.png,1,,3,2", {}, "box '1  3 2' is not four whole numbers"),
        ("file,mask,boxes", "1.png,fits.png,0 0 1 1", {}, "both a mask and boxes are given"),
        ("file,boxes,x0,y0,x1,y1", "1.png,0 0 1 1,0,0,1,1", {}, "boxes are given both in 'boxes' and in x0, y0, x1"),
        ("file,mask", "1.png,m.png", {}, "m.png' is 3x2 but its picture is displayed at 6x4"),
        ("file,content", "1.png,m.png", {}, "m.png' is 3x2 but its picture is displayed at 6x4"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_when_its_sample_is_taken(
    tmp_path: Path, picture: Save, mask: Save, header: str, row: str, options: dict[str, Any], reason: str
) -> None:
    picture(tmp_path / "1.png")
    mask(tmp_path / "fits.png", (0, 0, 1, 1))
    mask(tmp_path / "m.png", (0, 0, 1, 1), size=(3, 2))
    data = table(tmp_path / "list.csv", f"{header}\n{row}\n", **options)
    assert data.labels == [None]
    assert reason in refusal(data)


def test_an_id_used_before_is_listed_under_a_free_id_and_refused(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "1.png")
    text = "id,file\na,1.png\na,1.png\na#2,1.png\na,1.png\n,1.png\n,./1.png\n"
    data = table(tmp_path / "list.csv", text)
    assert data.ids == ["a", "a#3", "a#2", "a#4", "1.png", "1.png#2"]
    for index, name in ((1, "a"), (3, "a"), (5, "1.png")):
        assert f"duplicate id {name!r}" in refusal(data, index)
    for index in (0, 2, 4):
        assert data[index].id == data.ids[index]


def test_boxes_make_a_mask_that_is_their_union(tmp_path: Path, picture: Save) -> None:
    picture(tmp_path / "1.png")
    data = table(tmp_path / "list.csv", "id,file,boxes\na,1.png,0 0 2 1; 5 3 6 4;\nb,1.png,\nc,1.png,0 0 6.0 4\n")
    assert inside(data[0].mask) == [[255, 255, 0, 0, 0, 0], [0] * 6, [0] * 6, [0, 0, 0, 0, 0, 255]]
    assert data[1].mask is None
    assert inside(data[2].mask) == [[255] * 6] * 4
    data = table(tmp_path / "four.csv", "id,file,x0,y0,x1,y1\na,1.png,1,0,3,2\nb,1.png,,,,\n")
    assert inside(data[0].mask) == [[0, 255, 255, 0, 0, 0]] * 2 + [[0] * 6] * 2
    assert data[1].mask is None


def test_boxes_are_measured_on_the_displayed_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "1.jpg", exif=exif)
    data = table(tmp_path / "list.csv", "id,file,boxes\na,1.jpg,0 0 4 6\nb,1.jpg,0 0 6 4\n")
    sample = data[0]
    assert sample.mask is not None
    assert sample.image.size == sample.mask.size == (4, 6)
    assert "displayed at 4x6" in refusal(data, 1)


def test_the_field_is_found_where_a_row_gives_no_content_mask(tmp_path: Path, mask: Save) -> None:
    eye = photograph(3, size=64)
    Image.fromarray(eye.pixels).save(tmp_path / "1.png")
    mask(tmp_path / "c.png", (0, 0, 9, 9), size=(64, 64))
    data = table(tmp_path / "list.csv", "id,file,content\na,1.png,\nb,1.png,c.png\n", field=True)
    assert ((np.asarray(data[0].content) > 0) == eye.content).mean() > 0.98
    assert data[1].content is not None
    assert data[1].content.getbbox() == (0, 0, 9, 9)
