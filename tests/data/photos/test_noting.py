"""What is noted of a picture, against the same worked out with NumPy, and how it travels."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from own_folder import jpeg
from PIL import Image

from alexnet.data.photos import noting, pool, records
from alexnet.data.photos.states import STORED, UNREADABLE
from alexnet.data.squares import look

SIZE = 96


def picture(seed: int, height: int = 200, width: int = 300) -> np.ndarray:
    """Coarse random fields with grain: neither flat nor noise."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 230, (height // 20, width // 20, 3)).repeat(20, 0).repeat(20, 1)
    return (coarse + draw.integers(0, 26, coarse.shape)).astype(np.uint8)


def noted(data: bytes) -> tuple[np.void, np.ndarray]:
    """The record of a picture after its way through a note, and its stored pixels."""
    seen = look(data, "it", SIZE)
    note = noting.of_picture(data, seen, seen.image.tobytes())
    return records.of_notes(note)[0], np.asarray(seen.image)


def test_a_note_is_as_long_as_the_type_that_reads_it() -> None:
    assert noting.SIZE == records.NOTE.itemsize == len(noting.of_bytes(b""))
    assert records.RECORD.itemsize == 104


def test_a_record_says_what_the_file_and_its_pixels_are() -> None:
    data = jpeg(picture(0))
    record, pixels = noted(data)
    levels = pixels.reshape(-1, 3).astype(np.uint64)
    assert (record["state"], record["turned"], record["reduced"]) == (STORED, 0, 0)
    assert record["kind"] == b"JPEG RGB"
    assert (record["width"], record["height"], record["bytes"]) == (300, 200, len(data))
    assert record["crc"] == zlib.crc32(pixels.tobytes())
    assert record["digest"].tobytes() == hashlib.sha256(data).digest()[:16]
    np.testing.assert_array_equal(record["sums"], levels.sum(axis=0))
    np.testing.assert_array_equal(record["squares"], (levels**2).sum(axis=0))


def test_turned_and_reduced_are_kept() -> None:
    image, exif = Image.fromarray(picture(1, 600, 800)), Image.Exif()
    exif[0x0112] = 6
    record, _ = noted(jpeg(image, exif=exif))
    assert (record["turned"], record["reduced"]) == (1, 1)
    assert (record["width"], record["height"]) == (800, 600)


@pytest.mark.parametrize("seed", range(8))
def test_likeness_is_the_difference_hash_of_means_of_samples(seed: int) -> None:
    pixels = picture(seed, 100, 120)
    rows, columns = ((np.arange(n) + 0.5) * side / n for n, side in ((64, 100), (72, 120)))
    sampled = pixels[rows.astype(int)][:, columns.astype(int)].astype(int)
    grey = (sampled @ [19595, 38470, 7471] + 0x8000) >> 16  # ITU-R BT.601 in 16 bits
    across = (grey.reshape(64, 9, 8).sum(axis=2) + 4) >> 3
    small = (across.reshape(8, 8, 9).sum(axis=1) + 4) >> 3
    bits = "".join(str(int(a > b)) for row in small for a, b in pairwise(row))
    assert noting.likeness(Image.fromarray(pixels)) == int(bits, 2)
    assert 0 < bits.count("1") < 64


def test_many_notes_are_read_at_once_and_a_bad_file_is_none_of_pixels() -> None:
    good, bad = jpeg(picture(3)), b"no picture"
    seen = look(good, "it", SIZE)
    note = noting.of_picture(good, seen, seen.image.tobytes())
    found = records.of_notes(note + noting.of_bytes(bad) + note)
    assert found["state"].tolist() == [STORED, UNREADABLE, STORED]
    assert found["bytes"].tolist() == [len(good), len(bad), len(good)]
    assert found[0] == found[2]
    assert found["digest"][1].tobytes() == hashlib.sha256(bad).digest()[:16]
    assert not found["sums"][1].any()
    assert len(records.of_notes(b"")) == 0


def test_a_process_without_pictures_ends_with_its_input() -> None:
    settings = {"size": SIZE, "fit": "crop", "start": 0, "files": {}}
    with pool.process() as idle:
        said, _ = idle.communicate(json.dumps(settings).encode() + b"\n", timeout=60)
    assert (idle.returncode, said) == (0, b"")


def test_a_process_answers_with_reasons_and_notes(tmp_path: object) -> None:
    data, stored = jpeg(picture(4)), f"{tmp_path}/pixels"
    with open(stored, "wb") as file:
        file.truncate(2 * SIZE * SIZE * 3 + 5)
    settings = {"size": SIZE, "fit": "crop", "start": 5, "files": {"train": stored}}
    pictures = [["", 0, len(data), "train", 1], ["", 0, 3, "train", 0]]
    lines = [json.dumps(line).encode() for line in (settings, {"pictures": pictures, "here": True})]
    with pool.process() as busy:
        said, _ = busy.communicate(b"\n".join(lines) + b"\n" + data + b"abc", timeout=60)
    told, _, notes = said.partition(b"\n")
    assert list(json.loads(told)["faults"]) == ["1"]
    record, pixels = noted(data)
    found = records.of_notes(notes)
    assert (found[0], found["state"][1]) == (record, UNREADABLE)
    with open(stored, "rb") as file:
        assert file.read() == bytes(5 + SIZE * SIZE * 3) + pixels.tobytes()
    assert struct.calcsize("<768I") + 56 == records.NOTE.itemsize
