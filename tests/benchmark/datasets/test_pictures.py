"""Picture files are read whole and as they are displayed, or refused with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from camfaith.benchmark.datasets.pictures import read_mask, read_picture
from camfaith.benchmark.datasets.sample import SampleError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
WIDE = np.array([[0, 1, 128, 129], [257, 32768, 65534, 65535]], dtype=np.uint16)
LEVELS = (WIDE / 65535).astype(np.float32)


def saved(path: Path, pixels: Any, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def cut(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:-count])
    return path


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).tolist()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_an_rgb_png_comes_back_exactly(tmp_path: Path) -> None:
    image = read_picture(saved(tmp_path / "a.png", NOISE))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), NOISE)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.webp", "a.ppm", "a.gif"])
def test_a_file_cut_in_half_is_refused_in_every_format(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, NOISE)
    assert read_picture(path).size == (32, 24)
    with pytest.raises(SampleError, match=f"{name}' is damaged or cut short: ."):
        read_picture(cut(path, path.stat().st_size // 2))


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("a.jpg", {}, (1, 2, 3, 10, 100)),
        ("a.jpg", {"progressive": True}, (1, 2, 3, 10, 100)),
        ("a.png", {}, (12,)),  # its end: all pixels are there
    ],
)
def test_a_file_without_its_last_bytes_is_refused(tmp_path: Path, name: str, options: Any, counts: Any) -> None:
    for count in counts:
        with pytest.raises(SampleError, match="cut short"):
            read_picture(cut(saved(tmp_path / name, NOISE, **options), count))


def test_a_png_with_one_wrong_byte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", NOISE, compress_level=0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SampleError, match="damaged"):
        read_picture(path)


def test_a_cut_file_is_refused_where_another_package_lets_cut_files_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = cut(saved(tmp_path / "a.jpg", NOISE), 300)
    with Image.open(path) as image:
        image.load()  # Pillow itself would take it

    def refused(_: int) -> bool:
        with pytest.raises(SampleError, match="cut short"):
            read_picture(path)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(200)))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True, "the setting is given back"


def test_files_that_are_no_pictures_are_named_with_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is not a picture")
    (tmp_path / "empty.png").touch()
    with pytest.raises(SampleError, match=r"text\.jpg' is not a picture in one of the formats JPEG, PNG"):
        read_picture(tmp_path / "text.jpg")
    with pytest.raises(SampleError, match=r"empty\.png' is empty \(0 bytes\)"):
        read_picture(tmp_path / "empty.png")
    with pytest.raises(SampleError, match=r"no file at .*absent\.png'"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(SampleError, match="no file at"):
        read_picture(tmp_path)


def test_postscript_named_jpg_is_refused_and_not_handed_to_ghostscript(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(NOISE).save(data, "EPS")
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    with pytest.raises(SampleError, match="not a picture in one of the formats"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [100, 500, 767])
def test_a_picture_above_pillows_pixel_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    path = saved(tmp_path / "a.png", NOISE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 768)
    assert read_picture(path).size == (32, 24)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(SampleError, match=r"a\.png' is too large to be read safely"):
        read_picture(path)


def indexed(*palette: int) -> Image.Image:
    """A pixel of each of two colours."""
    image = Image.new("P", (2, 1))
    image.putpalette(palette)
    image.putpixel((1, 0), 1)
    return image


def merged(mode: str, *bands: Any) -> Image.Image:
    return Image.merge(mode, [Image.fromarray(np.array([band], np.uint8)) for band in bands])


GREY = np.array([[0, 100, 255]], np.uint8)
SHADES, ALPHA = [200] * 3, [255, 0, 51]
TWO = indexed(10, 20, 30, 200, 100, 50)


@pytest.mark.parametrize(
    ("given", "options", "shown"),
    [
        (GREY, {}, [[0] * 3, [100] * 3, [255] * 3]),
        (GREY > 50, {}, [[0] * 3, [255] * 3, [255] * 3]),
        (TWO, {}, [[10, 20, 30], [200, 100, 50]]),
        (TWO, {"transparency": 0}, [[0] * 3, [200, 100, 50]]),
        (merged("RGBA", SHADES, [100] * 3, [50] * 3, ALPHA), {}, [[200, 100, 50], [0] * 3, [40, 20, 10]]),
        (merged("LA", SHADES, ALPHA), {}, [[200] * 3, [0] * 3, [40] * 3]),
        (TWO.convert("RGB"), {"transparency": (200, 100, 50)}, [[10, 20, 30], [0] * 3]),
        (merged("CMYK", [0, 0], [255, 0], [255, 0], [0, 255]), {"format": "TIFF"}, [[255, 0, 0], [0] * 3]),
    ],
)
def test_a_picture_of_any_mode_becomes_rgb_and_what_is_transparent_black(
    tmp_path: Path, given: Any, options: Any, shown: Any
) -> None:
    assert pixels(read_picture(saved(tmp_path / "a", given, **{"format": "PNG"} | options))) == [shown]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_sixteen_bit_grey_keeps_its_levels(tmp_path: Path, name: str, kind: type) -> None:
    if kind is np.int32 and name == "a.png":
        name = "a.tiff"
    assert np.array_equal(read_picture(saved(tmp_path / name, WIDE.astype(kind))), LEVELS)
    turned = read_picture(saved(tmp_path / name, WIDE.astype(kind), exif=oriented(3)))
    assert np.array_equal(turned, LEVELS[::-1, ::-1])
    (tmp_path / "big_endian.pgm").write_bytes(b"P5 4 2 65535\n" + WIDE.astype(">u2").tobytes())
    assert np.array_equal(read_picture(tmp_path / "big_endian.pgm"), LEVELS)


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 65536)])
def test_integers_outside_of_sixteen_bits_are_refused(tmp_path: Path, low: int, high: int) -> None:
    path = saved(tmp_path / "a.tif", np.array([[low, high]], dtype=np.int32))
    with pytest.raises(SampleError, match=rf"integer values from {low} to {high}, expected 0 to 65535"):
        read_picture(path)


def test_floating_point_is_read_in_zero_to_one_and_refused_elsewhere(tmp_path: Path) -> None:
    inside = saved(tmp_path / "a.tif", np.array([[0, 0.5, 1]], dtype=np.float32))
    assert pixels(read_picture(inside)) == [[0, 0.5, 1]]
    for bad in (-0.1, 1.5, 255.0, np.nan, np.inf):
        path = saved(tmp_path / "b.tif", np.array([[0, bad]], dtype=np.float32))
        with pytest.raises(SampleError, match=r"b\.tif' has floating-point values from .* expected 0 to 1"):
            read_picture(path)


FLIP = Image.Transpose
AS_DISPLAYED: dict[int, Callable[[Image.Image], Image.Image]] = {
    2: lambda image: image.transpose(FLIP.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(FLIP.ROTATE_180),
    4: lambda image: image.transpose(FLIP.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(FLIP.TRANSPOSE),
    6: lambda image: image.transpose(FLIP.ROTATE_270),
    7: lambda image: image.transpose(FLIP.TRANSVERSE),
    8: lambda image: image.transpose(FLIP.ROTATE_90),
}


@pytest.mark.parametrize("orientation", AS_DISPLAYED)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_exif_orientation_is_applied_once(tmp_path: Path, name: str, orientation: int) -> None:
    path = saved(tmp_path / name, NOISE, exif=oriented(orientation))
    image = read_picture(path)
    assert pixels(image) == pixels(AS_DISPLAYED[orientation](Image.fromarray(NOISE)))
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.png", "a.tif"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        assert read_picture(path).getpixel((0, 0)) == (255, 0, 0), name


WIDE_MASK = Image.fromarray(np.array([[0, 1, 65535]], np.uint16))


@pytest.mark.parametrize(
    ("given", "options", "inside"),
    [
        (np.array([[0, 1, 128, 255]], np.uint8), {}, [0, 255, 255, 255]),
        (np.array([[False, True]]), {}, [0, 255]),
        (WIDE_MASK, {}, [0, 255, 255]),
        (WIDE_MASK, {"transparency": 1}, [0, 0, 255]),
        (np.array([[0, 0.001, 7]], np.float32), {"format": "TIFF"}, [0, 255, 255]),
        (merged("RGB", [0, 0, 9], [0, 0, 0], [0, 1, 0]), {}, [0, 255, 255]),
        (merged("RGBA", [0, 255, 9], [0, 255, 0], [0, 255, 0], [255, 0, 1]), {}, [0, 0, 255]),
        (indexed(0, 0, 0, 128, 0, 0), {}, [0, 255]),
    ],
)
def test_any_value_but_zero_of_any_colour_is_inside_a_mask_and_what_is_transparent_is_not(
    tmp_path: Path, given: Any, options: Any, inside: Any
) -> None:
    mask = read_mask(saved(tmp_path / "a", given, **{"format": "PNG"} | options), (len(inside), 1))
    assert (mask.mode, pixels(mask)) == ("L", [inside])


BLACK = np.zeros((24, 32), np.uint8)


@pytest.mark.parametrize(
    ("name", "given", "options", "reason"),
    [
        ("m.tif", np.where(np.eye(24, 32), np.float32(np.nan), 0), {}, "not finite"),
        (
            "m.png",
            np.zeros((5, 7), np.uint8),
            {},
            r"m\.png' is 7x5 but its picture is displayed at 32x24: .*not resized",
        ),
        ("m.png", BLACK, {"exif": oriented(3)}, "has EXIF orientation 3"),
        ("m.tif", BLACK, {"exif": oriented(3)}, "has EXIF orientation 3"),
        ("m.jpg", BLACK, {}, r"m\.jpg' is a JPEG, .* save the mask as PNG"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused(
    tmp_path: Path, name: str, given: Any, options: Any, reason: str
) -> None:
    with pytest.raises(SampleError, match=reason):
        read_mask(saved(tmp_path / name, given, **options), (32, 24))
    with pytest.raises(SampleError, match=r"m\.png' is damaged or cut short"):
        read_mask(cut(saved(tmp_path / "m.png", NOISE), 500), (32, 24))
    assert read_mask(saved(tmp_path / "m.png", BLACK, exif=oriented(1)), (32, 24)).size == (32, 24)


def test_a_mask_in_the_cameras_orientation_is_refused(tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path / "a.jpg", NOISE, exif=oriented(6)))
    path = saved(tmp_path / "m.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(SampleError, match=r"is 32x24 but its picture is displayed at 24x32: .*camera's orientation"):
        read_mask(path, picture.size)
    upright = saved(tmp_path / "n.png", np.eye(32, 24, dtype=np.uint8))
    assert np.array_equal(np.asarray(read_mask(upright, picture.size)), np.eye(32, 24) * 255)
