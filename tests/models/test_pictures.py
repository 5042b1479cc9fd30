"""Pictures from files and from Pillow are one and the same, with the levels that their files have."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from camfaith.metrics import baseline
from camfaith.models import Classifier, PictureError, load_picture
from camfaith.models.display import overlay, overlay_signed

RAMP = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)


def png(path, bits, colour, rows, transparent=b""):
    """A PNG as Pillow does not write it; `colour` 0 is grey, 2 is RGB."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width = len(rows[0]) * 8 // bits // (3 if colour else 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")
    between = chunk(b"tRNS", transparent) if transparent else b""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + between + content)
    return path


def kinds(folder):
    """A file for each way in which Pillow's own conversion goes wrong."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    pictures = {
        "16 bits": (Image.fromarray(RAMP * 16), {"format": "PNG"}),
        "floating point": (Image.fromarray((RAMP / 4095).astype(np.float32)), {"format": "TIFF"}),
        "turned": (Image.fromarray(noise[..., :3]), {"format": "JPEG", "exif": turned}),
        "transparent": (Image.fromarray(noise), {"format": "PNG"}),
        "grey": (Image.fromarray(noise[..., 0]), {"format": "PNG"}),
    }
    for name, (picture, options) in pictures.items():
        picture.save(folder / name, **options)
        yield name, folder / name


def test_a_picture_is_the_same_from_its_file_and_as_pillow_has_opened_it(tmp_path):
    shows = Classifier(nn.Identity())
    for name, path in kinds(tmp_path):
        shown = load_picture(path)
        expected = shows.prepare(shown)
        assert torch.equal(shows.prepare(Image.open(path)), expected), name
        assert torch.equal(baseline({"image": path}).image.expand(3, -1, -1), expected), name
        for draw in (overlay, overlay_signed):
            flat = np.zeros((4, 4))
            assert draw(Image.open(path), flat).tobytes() == draw(shown, flat).tobytes(), name
    grey = np.asarray(overlay(Image.open(tmp_path / "16 bits"), np.zeros((4, 4)), opacity=0))[..., 0]
    assert abs(grey - RAMP / 4095 * 255).max() <= 0.5


def test_white_is_what_is_said_or_what_the_file_says(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "twelve.png")
    with pytest.warns(UserWarning, match="no value above 4095 and comes out dark.*say white = 4095"):
        dark = load_picture(tmp_path / "twelve.png")
    assert np.array_equal(dark, (RAMP / 65535).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(load_picture(tmp_path / "twelve.png", white=4095), (RAMP / 4095).astype(np.float32))
        assert np.array_equal(load_picture(Image.fromarray(RAMP), white=65535), dark)
        Image.fromarray(RAMP).save(tmp_path / "negative.tif", tiffinfo={ExifTags.Base.PhotometricInterpretation: 0})
        assert load_picture(tmp_path / "negative.tif", white=4095).getpixel((0, 0)) == 1
    for white in (0, -1, float("nan"), "4095", True):
        with pytest.raises(ValueError, match="white must be a number above 0"):
            load_picture(tmp_path / "twelve.png", white=white)
    with pytest.raises(PictureError, match=r"values from 0 to 4095, expected 0 to 255: say which value is white"):
        load_picture(tmp_path / "twelve.png", white=255)


def test_transparency_in_a_png_is_by_value(tmp_path):
    wide = png(tmp_path / "16", 16, 0, [struct.pack(">4H", 0, 5000, 5004, 65535)], struct.pack(">H", 5004))
    assert np.asarray(load_picture(wide))[0].tolist() == pytest.approx([0, 5000 / 65535, 0, 1])
    four = png(tmp_path / "4", 4, 0, [bytes([0x3F, 0x50])], struct.pack(">H", 5))
    two = png(tmp_path / "2", 2, 0, [bytes([0b00011011])], struct.pack(">H", 3))
    for path, expected in ((four, [51, 255, 0, 0]), (two, [0, 85, 170, 0])):
        opened = Image.open(path)
        for picture in (path, opened, opened):
            assert np.asarray(load_picture(picture))[0, :, 0].tolist() == expected
    row = struct.pack(">6H", 65535, 256, 300, 65535, 257, 300)
    with pytest.raises(PictureError, match=r"colour of 16 bits with a transparent colour.*alpha channel"):
        load_picture(png(tmp_path / "rgb", 16, 2, [row], row[:6]))
    elsewhere = png(tmp_path / "rgb", 16, 2, [row], struct.pack(">3H", 1, 2, 3))
    assert np.asarray(load_picture(elsewhere)).tolist() == [[[255, 1, 1], [255, 1, 1]]]
    with pytest.raises(PictureError, match="colour of 16 bits, of which Pillow reads the upper 8"):
        load_picture(elsewhere, white=4095)


def test_a_picture_that_would_start_another_program_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    with pytest.raises(PictureError, match="is EPS, which starts another program"):
        Classifier(nn.Identity()).prepare(Image.open(tmp_path / "a.eps"))


def test_bands_make_a_picture_as_a_whole_does(tmp_path, monkeypatch):
    files = dict(kinds(tmp_path))
    whole = {name: load_picture(path).tobytes() for name, path in files.items()}
    monkeypatch.setattr("camfaith.models.pictures._BAND", 40)
    assert {name: load_picture(path).tobytes() for name, path in files.items()} == whole
