"""Golden arrays for every kind of picture, a clear refusal for everything else, and a fuzz."""

from __future__ import annotations

import io
import os
import random
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.data.pictures import fit_square, read_picture, read_square
from alexnet.errors import BadPicture, UsageError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """A picture that lossy formats keep nearly unchanged."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 7, y * 9, 255 - x * 4 - y * 3], axis=2).astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand, so that the reader is not tested against the writer it shares."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = [
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def over_white(rgba: np.ndarray) -> np.ndarray:
    """The formula itself, in float64."""
    alpha = rgba[..., 3:] / 255.0
    return np.floor(rgba[..., :3] * alpha + 255.0 * (1.0 - alpha) + 0.5)


# --- what is read, and as which numbers ------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_colour_comes_back_bit_for_bit(kind: str) -> None:
    picture = noise(17, 23, 3)
    read = read_picture(encoded(picture, kind, lossless=True))
    np.testing.assert_array_equal(read, picture)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert read.flags.writeable


@pytest.mark.parametrize(
    ("kind", "name"), [("JPEG", "cat.png"), ("WEBP", "cat"), ("PNG", "고양이.jpg")]
)
def test_content_decides_and_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(smooth(), kind, quality=95, subsampling=0))
    for source in (path, str(path), path.read_bytes()):
        assert np.abs(read_picture(source).astype(int) - smooth()).max() <= 12


def test_grey_becomes_three_equal_channels() -> None:
    grey = noise(5, 6)
    np.testing.assert_array_equal(read_picture(encoded(grey, "PNG")), np.dstack([grey] * 3))


def test_one_bit_becomes_black_and_white() -> None:
    read = read_picture(png(8, 1, 1, 0, b"\0\x0f"))
    np.testing.assert_array_equal(read[0, :, 1], [0, 0, 0, 0, 255, 255, 255, 255])


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.array([0, 128, 129, 255, 256, 257, 1000, 32768, 65406, 65407, 65535], ">u2")
    read = read_picture(png(len(values), 1, 16, 0, b"\0" + values.tobytes()))
    expected = [0, 0, 1, 1, 1, 1, 4, 128, 254, 255, 255]
    np.testing.assert_array_equal(read[0], np.dstack([expected] * 3)[0])
    np.testing.assert_array_equal(expected, np.round(values.astype(float) / 257))


def test_sixteen_bit_grey_with_a_transparent_value() -> None:
    read = read_picture(png(2, 1, 16, 0, b"\0\x10\x05\x10\x07", chunk(b"tRNS", b"\x10\x05")))
    np.testing.assert_array_equal(read[0, :, 0], [255, 16])


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    read = read_picture(png(1, 1, 16, 2, b"\0" + bytes([10, 200, 20, 100, 30, 0])))
    np.testing.assert_array_equal(read, [[[10, 20, 30]]])


def test_palette() -> None:
    colours = chunk(b"PLTE", bytes([1, 2, 3, 40, 50, 60, 255, 0, 7]))
    read = read_picture(png(3, 1, 8, 3, b"\0\2\0\1", colours))
    np.testing.assert_array_equal(read, [[[255, 0, 7], [1, 2, 3], [40, 50, 60]]])


def test_palette_with_alpha_lies_over_white() -> None:
    colours = chunk(b"PLTE", bytes([0, 0, 0, 100, 50, 0, 9, 9, 9]))
    alphas = chunk(b"tRNS", bytes([0, 128, 255]))
    read = read_picture(png(3, 1, 8, 3, b"\0\0\1\2", colours, alphas))
    # 100 * 128/255 + 255 * 127/255 = 177.2; 50 -> 152.1; 0 -> 127
    np.testing.assert_array_equal(read, [[[255, 255, 255], [177, 152, 127], [9, 9, 9]]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(mode: str) -> None:
    rgba = noise(40, 40, 4)
    if mode == "LA":
        rgba[..., 1] = rgba[..., 2] = rgba[..., 0]
    image = Image.fromarray(rgba).convert(mode)
    np.testing.assert_array_equal(read_picture(encoded(image, "PNG")), over_white(rgba))


def test_cmyk_jpeg() -> None:
    flat = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255), (100, 0, 0, 100)]
    expected = [(255, 255, 255), (0, 255, 255), (255, 0, 0), (0, 0, 0), (94, 155, 155)]
    for ink, rgb in zip(flat, expected, strict=True):
        data = encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100)
        assert np.abs(read_picture(data)[4, 4].astype(int) - rgb).max() <= 2, (ink, rgb)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_array_equal(read_picture(data), np.full((4, 6, 3), (255, 0, 0)))


def test_gif_transparency_lies_over_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    read = read_picture(encoded(image, "GIF", transparency=1))
    np.testing.assert_array_equal(read, [[[10, 20, 30], [255, 255, 255]]])


def test_a_jpeg_of_several_pictures_gives_its_first() -> None:
    shots = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(shots[0], "MPO", save_all=True, append_images=shots[1:])
    assert np.abs(read_picture(data).astype(int) - (255, 0, 0)).max() <= 2


# EXIF 2.32, tag 0x0112: which array operation brings each stored orientation upright.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(orientation: int) -> None:
    upright = noise(3, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    for kind in ("PNG", "WEBP"):
        data = encoded(stored, kind, exif=exif, lossless=True)
        np.testing.assert_array_equal(read_picture(data), upright)


def test_exif_orientation_of_a_jpeg() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(np.rot90(smooth(16, 40)).copy(), "JPEG", exif=exif, quality=95, subsampling=0)
    assert np.abs(read_picture(data).astype(int) - smooth(16, 40)).max() <= 12


def test_damaged_exif_counts_as_none() -> None:
    for exif in (
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\3" * 20,
        b"Exif\0\0II*\0\xff\xff",
    ):
        data = encoded(smooth(), "JPEG", exif=exif)
        with warnings.catch_warnings(record=True) as leaked:
            warnings.simplefilter("always")
            assert read_picture(data).shape == (24, 32, 3)
        assert not leaked


# --- arrays ----------------------------------------------------------------------------------


def test_arrays_are_accepted_in_four_shapes() -> None:
    grey, rgb, rgba = noise(4, 5), noise(4, 5, 3), noise(4, 5, 4)
    np.testing.assert_array_equal(read_picture(grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_picture(grey[..., None]), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_picture(rgb[:, ::-1]), rgb[:, ::-1])
    np.testing.assert_array_equal(read_picture(rgba[::2]), over_white(rgba[::2]))


def test_an_array_is_copied() -> None:
    picture = noise(4, 5, 3)
    read = read_picture(picture)
    read[:] = 0
    assert picture.any()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.array(3, np.uint8),
        np.array([["a"]], object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused_by_shape_and_dtype(array: np.ndarray) -> None:
    with pytest.raises(BadPicture) as refusal:
        read_picture(array)
    assert str(array.shape) in str(refusal.value)
    assert str(array.dtype) in str(refusal.value)
    assert "uint8" in str(refusal.value)


def test_the_pixel_cap_holds_for_arrays_too() -> None:
    with pytest.raises(BadPicture, match=r"20 x 10 = 200 pixels, more than the 199"):
        read_picture(noise(10, 20, 3), max_pixels=199)
    assert read_picture(noise(10, 20, 3), max_pixels=200).shape == (10, 20, 3)


# --- what is refused, and how ----------------------------------------------------------------

JUNK: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "is empty"),
    "notes.jpg": (b"dear diary, today\n", "is a text file .*dear diary"),
    "page.jpg": (b"\n<!DOCTYPE html><html><body>404</body>", "is an HTML page"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG"),
    "eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is a PostScript"),
    "paper.png": (b"%PDF-1.7\n", "is a PDF"),
    "scan.tif": (encoded(smooth(), "TIFF"), "is a TIFF"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC picture, .* export it as JPEG"),
    "web.jpg": (b"\0\0\0\x18ftypavif\0\0\0\0", "is an AVIF picture"),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\0\0", "is a video"),
    "weights.bmp": (bytes(range(200, 256)), "no known picture format .*c8 c9 ca"),
    "start.jpg": (b"\xff\xd8\xff\xe0", "a JPEG picture that is damaged or cut short"),
    "start.png": (b"\x89PNG\r\n\x1a\n", "a PNG picture that is damaged"),
    "start.gif": (b"GIF89a", "a GIF picture that is damaged"),
    "start.bmp": (b"BM", "a BMP picture that is damaged"),
    "start.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture that is damaged"),
}


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused_by_file_fault_and_what_is_accepted(tmp_path: Path, name: str) -> None:
    content, fault = JUNK[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadPicture, match=fault) as refusal:
        read_picture(tmp_path / name)
    assert name in str(refusal.value)
    assert "JPEG, PNG, WebP, GIF and BMP" in str(refusal.value)
    with pytest.raises(BadPicture, match=fault):
        read_picture(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_picture_cut_at_two_thirds_is_refused(kind: str) -> None:
    data = encoded(noise(64, 64, 3), kind)
    with pytest.raises(BadPicture, match="damaged or cut short"):
        read_picture(data[: len(data) * 2 // 3])


def test_missing_folder_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match=r"none\.jpg: no such file"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(BadPicture, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(BadPicture, match=r"cannot be read: .*JPEG"):
        read_picture("cat\0.jpg")
    with pytest.raises(BadPicture, match=r"cannot be read|no such file"):
        read_picture("x" * 5000)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.jpg"
    path.write_bytes(encoded(smooth(), "JPEG"))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # the tests may run as root, who may read all
    with pytest.raises(BadPicture, match=r"mine\.jpg: cannot be read: Permission denied"):
        read_picture(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [(b"\0", "no known picture format"), (b"\xff\xd8\xff", "bytes, more than the 536,870,912")],
)
def test_a_file_larger_than_the_memory_is_refused_unread(
    tmp_path: Path, head: bytes, words: str
) -> None:
    path = tmp_path / "disk.jpg"
    path.write_bytes(head)
    os.truncate(path, 1 << 40)  # of which the disk holds next to nothing
    with pytest.raises(BadPicture, match=rf"disk\.jpg: .*{words}"):
        read_square(path, 64)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadPicture, match="is not a regular file"):
        read_picture(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("source", [None, 3, 1.5, ["cat.jpg"]])
@pytest.mark.parametrize("read", [read_picture, partial(read_square, size=8)])
def test_other_sources_are_refused_by_type(source: Any, read: Callable[..., Any]) -> None:
    with pytest.raises(BadPicture, match=type(source).__name__):
        read(source)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK", "I;16"])
def test_a_picture_of_pillows_is_its_file(tmp_path: Path, mode: str) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(drawn)
    if mode == "I;16":
        picture = Image.fromarray(drawn[..., 0].astype(np.uint16) * 200)
    elif mode != "RGB":
        picture = picture.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    with Image.open(path) as opened:
        assert (read_picture(opened) == read_picture(path)).all()
        assert (read_square(opened, 16) == read_square(path, 16)).all()
    assert (read_picture(bytearray(path.read_bytes())) == read_picture(path)).all()


def test_a_picture_of_pillows_that_is_damaged_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.new("RGB", (300, 300), "red").save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with Image.open(path) as opened, pytest.raises(BadPicture, match=r"cut\.png: cannot be read"):
        read_picture(opened)
    with pytest.raises(BadPicture, match="300 x 300"):
        read_picture(Image.new("L", (300, 300)), max_pixels=80_000)


def test_names_cannot_write_to_the_terminal() -> None:
    with pytest.raises(BadPicture) as refusal:
        read_picture("a\x1b[2Jb\udc80\n.jpg")
    assert str(refusal.value).isprintable()


def test_a_huge_png_is_refused_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(50_000, 50_000, 8, 2, b"\0" * 1_000_000))
    start = time.thread_time()
    with pytest.raises(BadPicture) as refusal:
        read_picture(path)
    assert time.thread_time() - start < 0.5  # of which Python may tidy up its memory
    for part in ("bomb.png", "50,000 x 50,000", "2,500,000,000", "40,000,000"):
        assert part in str(refusal.value)


def bomb_headers(side: int) -> dict[str, bytes]:
    """One header of each format that declares ``side x side`` pixels, with next to no data."""
    bits = ((side - 1) | (side - 1) << 14).to_bytes(4, "little")
    vp8l = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + bits + b"\0"
    frame = struct.pack(">HBHHB", 17, 8, side, side, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    return {
        "png": png(side, side, 8, 2, b"\0"),
        "jpeg": b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0",
        "gif": b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, side, side, 0)
        + b"\2\1\0\0;",
        "bmp": b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        "webp": b"RIFF" + struct.pack("<I", 4 + len(vp8l)) + b"WEBP" + vp8l,
    }


@pytest.mark.parametrize("side", [7_000, 12_000, 16_000])
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp"])
def test_every_format_is_capped_before_it_is_decoded(kind: str, side: int) -> None:
    start = time.thread_time()
    with pytest.raises(BadPicture, match=rf"{side * side}|{side:,} x {side:,}") as refusal:
        read_picture(bomb_headers(side)[kind])
    assert time.thread_time() - start < 0.5  # of which Python may tidy up its memory
    assert "40,000,000" in str(refusal.value)


def test_the_cap_can_be_raised_past_the_one_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert read_picture(encoded(noise(10, 20, 3), "PNG")).shape == (10, 20, 3)


# --- any bytes at all ------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """Small pictures of every mode and format, as real encoders write them."""
    rgb = Image.fromarray(smooth(20, 20))
    rgba = Image.fromarray(noise(20, 20, 4))
    deep = png(9, 9, 16, 0, (b"\0" + bytes(range(18))) * 9, chunk(b"tRNS", b"\0\5"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    frames = [Image.new("P", (9, 9), index) for index in range(3)]
    return [
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "JPEG", progressive=True, subsampling=2),
        encoded(rgb.convert("L"), "JPEG"),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, "PNG", exif=exif),
        encoded(rgba, "PNG"),
        encoded(rgba.convert("LA"), "PNG"),
        encoded(rgb.convert("1"), "PNG"),
        encoded(rgb.convert("P"), "PNG", transparency=bytes(range(200))),
        encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        deep,
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=1),
        encoded(rgb, "BMP"),
        encoded(rgb.convert("P"), "BMP"),
        encoded(rgb, "WEBP", exif=exif),
        encoded(rgba, "WEBP", lossless=True),
        encoded(rgb, "TIFF"),
    ]


def mutant(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, and sometimes a stretch cut out, doubled or lost at the end."""
    body = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        place = dice.randrange(len(body))
        body[place] = dice.choice((0, 1, 127, 255, dice.randrange(256), body[place] ^ 1))
    at, length = dice.randrange(len(body)), dice.randrange(1, 40)
    change = dice.randrange(6)
    if change == 0:
        return bytes(body[:at])
    if change == 1:
        return bytes(body[:at] + body[at + length :])
    return bytes(body[: at + length] + body[at:]) if change == 2 else bytes(body)


def mended(data: bytes) -> bytes:
    """The same PNG with right check sums, so that mutants reach past them."""
    out, at = data[:8], 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        out += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return out if len(out) > 8 else data


def test_only_bad_picture_escapes_whatever_the_bytes() -> None:
    dice, read, refusals = random.Random(20260101), 0, list[str]()
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        for data in seeds():
            for turn in range(800):
                bytes_ = mutant(data, dice)
                bytes_ = mended(bytes_) if turn % 2 else bytes_
                start = time.thread_time()
                try:
                    picture = read_picture(bytes_, max_pixels=1_000_000)
                except BadPicture as error:
                    refusals.append(str(error))
                else:
                    read += 1
                    assert picture.dtype == np.uint8
                    assert picture.ndim == 3
                    assert picture.shape[2] == 3
                assert time.thread_time() - start < 2.0
    assert [str(warning.message) for warning in leaked] == []
    assert read > 2000  # both ways were walked
    assert len(refusals) > 2000
    assert all(message.isprintable() for message in refusals)


@pytest.mark.parametrize("fault", [RuntimeError("odd"), MemoryError(), IndexError(), KeyError("x")])
def test_any_fault_of_a_reader_becomes_a_bad_picture(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(BadPicture, match=f"damaged or cut short .({fault}|{type(fault).__name__})"):
        read_picture(encoded(smooth(), "BMP"))


def test_pillow_warnings_stay_inside_whatever_the_threads_do() -> None:
    twice = chunk(b"acTL", struct.pack(">II", 0, 0))
    data = png(2, 1, 8, 0, b"\0\1\2", twice)
    with pytest.warns(UserWarning, match="APNG"), Image.open(io.BytesIO(data)):
        pass  # it does warn
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        threads = [
            threading.Thread(target=lambda: [read_picture(data) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == filters
    assert not leaked


# --- fit_square ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 20, 32, 37, 64])
@pytest.mark.parametrize("shape", [(37, 91), (91, 37), (50, 51), (64, 64), (40, 37), (37, 40)])
def test_fit_square_is_resize_then_centre_crop(shape: tuple[int, int], size: int) -> None:
    picture = noise(*shape, 3)
    height, width = (int(size * side / min(shape)) for side in shape)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - size) / 2), round((width - size) / 2)
    expected = np.asarray(resized)[top : top + size, left : left + size]
    np.testing.assert_array_equal(fit_square(picture, size), expected)


def test_fit_square_of_a_square_of_that_size_changes_nothing() -> None:
    picture = noise(32, 32, 3)
    fitted = fit_square(picture, 32)
    np.testing.assert_array_equal(fitted, picture)
    assert fitted is not picture
    assert fitted.flags.writeable


def test_fit_square_averages_when_it_shrinks() -> None:
    checkers = np.indices((64, 64)).sum(0)[..., None].repeat(3, 2) % 2 * np.uint8(255)
    assert np.abs(fit_square(checkers.astype(np.uint8), 16).astype(int) - 127).max() <= 2


def test_fit_square_keeps_the_centre() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 200
    np.testing.assert_array_equal(fit_square(picture, 10), np.full((10, 10, 3), 200))


def test_fit_square_of_a_strip_costs_little() -> None:
    start = time.thread_time()
    assert fit_square(np.zeros((1, 1_000_000, 3), np.uint8), 224).shape == (224, 224, 3)
    assert time.thread_time() - start < 1.0


def test_fit_square_refuses_what_is_no_picture() -> None:
    with pytest.raises(BadPicture, match=r"float64 with shape \(4, 4, 3\)"):
        fit_square(np.zeros((4, 4, 3)), 2)
    with pytest.raises(BadPicture, match=r"shape \(4, 4\)"):
        fit_square(np.zeros((4, 4), np.uint8), 2)
    with pytest.raises(UsageError, match="size 0"):
        fit_square(noise(4, 4, 3), 0)
