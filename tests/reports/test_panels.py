"""The picture of one explanation: every map in its place, names and reasons to be read, written whole or not at all."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from camfaith.benchmark.results.explanation import ClassScore, Explanation, Panel, Signs
from camfaith.reports import side_by_side
from camfaith.reports.panels import destination, write


def tile(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


def explanation(
    methods: list[str],
    classes: tuple[str, ...] = ("mild", "severe"),
    *,
    signed: bool = False,
    size: tuple[int, int] = (24, 24),
    name: str = "eye.png",
) -> Explanation:
    """Another picture in every panel."""
    keys = list(itertools.product(methods, range(len(classes))))
    raw = np.zeros((2, 2), np.float32)
    return Explanation(
        name=name,
        picture=tile(999, size),
        model="net",
        layers=["features.8"],
        methods=methods,
        classes=[ClassScore(i, name, 0.25 * (i + 1), i == 1, i) for i, name in enumerate(classes)],
        panels={key: Panel(raw, tile(n, size), "max |M| = 0.031" if signed else "") for n, key in enumerate(keys)},
        signed=signed,
        scale=tile(1000, (256, 1)),
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def images(figure: Figure) -> list[bytes]:
    return [np.asarray(axes.images[0].get_array())[..., :3].tobytes() for axes in figure.axes if axes.images]


def test_each_class_has_the_picture_and_then_every_method_in_their_order() -> None:
    found = explanation(["gradcam", "layercam"])
    expected = []
    for index in (0, 1):
        expected += [found.picture, *(found.panels[method, index].picture for method in found.methods)]
    assert images(side_by_side(found)) == [p.tobytes() for p in [*expected, found.scale] if p is not None]


@pytest.mark.parametrize(("count", "across"), [(1, 2), (5, 6), (6, 4), (8, 5), (14, 5)])
def test_methods_run_across_and_go_on_in_the_next_row(count: int, across: int) -> None:
    figure = side_by_side(explanation([f"m{n}" for n in range(count)], ("only",)))
    boxes = [axes.get_position() for axes in figure.axes[:-1]]
    for number, box in enumerate(boxes):
        down, right = divmod(number, across)
        assert box.x0 == pytest.approx(boxes[right].x0)
        assert box.y0 == pytest.approx(boxes[down * across].y0)
    assert figure.get_figwidth() <= 7.2 + 1e-9
    assert all(one.x1 < other.x0 or one.y0 > other.y1 for one, other in itertools.pairwise(boxes))


def test_names_probabilities_and_the_scale_are_written() -> None:
    found = texts(side_by_side(explanation(["gradcam"], signed=True)))
    assert "eye.png   ·   net   ·   layer features.8" in found
    assert "mild:  probability 0.250" in found
    assert "severe:  probability 0.500, the predicted class" in found
    for probability, told in ((0.00099, "probability below 0.001"), (None, "score -2.5")):
        rare = replace(explanation(["gradcam"]), classes=[ClassScore(0, "rare", probability, False, -2.5)])
        assert f"rare:  {told}" in texts(side_by_side(rare))
    assert found.count("gradcam") == found.count("picture") == found.count("max |M| = 0.031") == 2


@pytest.mark.parametrize(
    ("signed", "cut", "ticks", "told"),
    [
        (True, False, ["−max |M|", "0", "max |M|"], "Red speaks for the class"),
        (True, True, ["−max |M|", "0", "max |M|"], "the colours end there"),
        (False, False, ["0", "1"], "from its least (0)"),
        (False, True, ["0", "≥ 1"], "end where 0.5 %"),
    ],
)
def test_the_scale_says_what_its_ends_are_and_whether_values_lie_beyond_them(
    signed: bool, cut: bool, ticks: list[str], told: str
) -> None:
    found = explanation(["gradcam"], signed=signed)
    panels = {key: replace(panel, cut=cut) for key, panel in found.panels.items()}
    figure = side_by_side(replace(found, panels=panels))
    bar, written = figure.axes[-1], " ".join(text.replace("\n", " ") for text in texts(figure))
    assert [label.get_text() for label in bar.get_xticklabels()] == ticks
    assert bar.get_xlim() == (0, 1)
    np.testing.assert_allclose(bar.get_xticks(), np.linspace(0, 1, len(ticks)))
    assert told in written
    assert ("the colours end there" in written or "end where 0.5 %" in written) == cut


SIGNS: dict[Signs, str] = {
    "before ReLU": "Before ReLU: the method's definition goes on",
    "after ReLU": "After ReLU: the method's maps come",
    "unsigned": "Unsigned: such a map says where",
}


@pytest.mark.parametrize("signs", SIGNS)
def test_how_signs_are_read_is_told_where_it_must_be_known_and_not_elsewhere(signs: Signs) -> None:
    found = explanation(["gradcam", "hirescam"], signed=True)
    panels = dict(found.panels) | {("gradcam", 0): replace(found.panels["gradcam", 0], signs=signs)}
    for explained, told in (found, set()), (replace(found, panels=panels), {signs}):
        written = [text.replace("\n", " ") for text in texts(side_by_side(explained))]
        assert written.count(f"max |M| = 0.031, {signs}") == len(told)
        assert written.count("max |M| = 0.031") == 4 - len(told)
        assert {key for key, text in SIGNS.items() if any(text in each for each in written)} == told


def test_what_stands_in_a_file_is_shown_by_its_own_name() -> None:
    found = explanation(["/home/me/cams.py:MyCAM", "package.cams:MyCAM", "pgc:GradCAM"], ("only",))
    written = texts(side_by_side(replace(found, model="/home/me/nets.py:make")))
    assert written[0] == "eye.png   ·   make   ·   layer features.8"
    assert written[3:6] == ["MyCAM", "package.cams:MyCAM", "pgc:GradCAM"]


def test_a_map_that_is_not_there_leaves_a_grey_tile_with_the_reason() -> None:
    found = explanation(["cam", "gradcam"], ("only",))
    why = "CAM needs global average pooling"
    panels = dict(found.panels) | {("cam", 0): Panel(None, None, why)}
    figure = side_by_side(replace(found, panels=panels))
    empty = figure.axes[1]
    assert not empty.images
    assert empty.texts[0].get_text().replace("\n", " ") == why
    assert len(images(figure)) == 3


LONG = (
    "a very long name of a class that somebody wrote down with everything that they knew of it, twice, and then again"
)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "methods", [["gradcam"], ["gradcam", "integrated-gradients"], ["m" * 30] * 1 + ["x" * 50, "cam"]]
)
@pytest.mark.parametrize("size", [(48, 16), (10, 60)])
def test_nothing_is_cut_off_or_written_over(methods: list[str], signed: bool, size: tuple[int, int]) -> None:
    more = [f"perturbation-method-{n}(layer=features.{n})" for n in range(5)] if len(methods) == 3 else []
    found = explanation([*methods, *more], (LONG, "short"), signed=signed, size=size, name="x" * 300)
    why = "this method needs what there is not: " * 20
    panels = dict(found.panels)
    if signed:
        note = "≥ 0.00093 (max |M| = 0.0024)"
        panels = {key: replace(panel, note=note, cut=True, signs="before ReLU") for key, panel in panels.items()}
    panels[methods[0], 0] = Panel(None, None, why)
    figure = side_by_side(replace(found, panels=panels))
    figure.draw_without_rendering()
    page = figure.bbox
    written = [*figure.texts, *figure.axes[-1].get_xticklabels(), *figure.axes[1].texts]
    boxes = [text.get_window_extent() for text in written]
    for text, box in zip(written, boxes, strict=True):
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    for (one, box), (other, second) in itertools.combinations(zip(written, boxes, strict=True), 2):
        apart = box.x1 <= second.x0 or second.x1 <= box.x0 or box.y1 <= second.y0 or second.y1 <= box.y0
        assert apart, (one, other)
    inside = figure.axes[1].get_window_extent()
    assert inside.contains(*boxes[-1].min)
    assert inside.contains(*boxes[-1].max)


@pytest.mark.parametrize(
    ("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")]
)
def test_the_file_name_says_the_format_and_the_file_is_the_same_each_time(
    tmp_path: Path, suffix: str, begin: bytes
) -> None:
    first, second = (
        write(side_by_side(explanation(["gradcam"])), tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab"
    )
    assert first == second
    assert first.startswith(begin)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_a_file_that_could_not_be_finished_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"mine")

    def full(_figure: Figure, where: Path, **_settings: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="no space left"):
        write(side_by_side(explanation(["gradcam"])), path)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_it_is_said_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in one of .pdf, .svg, .png, got 'map.jpg'"):
        destination("map.jpg")
    with pytest.raises(FileNotFoundError, match="no folder at"):
        destination(tmp_path / "missing" / "map.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        destination(tmp_path / "folder.png")
