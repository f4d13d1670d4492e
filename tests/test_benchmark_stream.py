"""A made-up file on a disk: read as training reads it, and as fast as the disk allows."""

import os
from pathlib import Path

import numpy as np
import pytest

from alexnet.benchmark import disk, stream
from alexnet.benchmark.stream import StreamSpeed, stream_rows
from alexnet.errors import UsageError

LENGTH = 196608


def test_streaming_stands_beside_the_disk_and_keeps_memory(on_disk):
    """Of 48 MiB, less than half is ever resident: three batches ahead, one at work, one mapped."""
    rows = stream_rows(on_disk, pictures=256, size=256, batch=16, rounds=2)
    ours, *limits, whole, memory = rows
    assert ours.what == "reading 256x256 in random order, 16 a batch"
    assert [row.measured.n for row in rows] == [2, 4, 4, 4, 4, 2, 2]
    best = max(limits, key=lambda row: row.measured.median)
    assert ours.beside == best.what
    assert ours.ratio == pytest.approx(ours.measured.median / best.measured.median)
    assert {row.beside for row in limits} == {whole.what}
    assert memory.measured.max < 24
    assert list(on_disk.iterdir()) == [], "the made-up file is gone"


def test_rows_follow_from_what_was_read():
    limits = {1: (100.0, 300.0), 4: (500.0, 700.0), 16: (400.0, 600.0), 64: (550.0, 450.0)}
    found = [StreamSpeed(480.0, 800.0, limits, 150e-6, 96 << 20)]
    rows = {row.what: row for row in stream._rows(found, "ours", 960 << 20)}
    assert [row.measured.median for row in rows.values()] == [480, 200, 600, 500, 500, 800, 96]
    assert (rows["ours"].beside, rows["ours"].ratio) == ("the disk at random, 4 at once", 0.8)
    assert rows["the disk at random, 1 at once"].ratio == 0.25
    assert rows["memory grown meanwhile"].ratio == 0.1
    assert rows["ours"].more == {"us of a core": pytest.approx(150)}
    assert [row.what for row in rows.values() if row.headline] == ["ours"]


@pytest.mark.parametrize("change", ["pictures", "size", "batch", "rounds"])
def test_nothing_to_stream_is_refused(tmp_path, change):
    with pytest.raises(UsageError, match="pictures, size, batch, rounds must be at least 1"):
        stream_rows(tmp_path, **{"pictures": 4, change: 0})
    assert list(tmp_path.iterdir()) == []


# --- the disk --------------------------------------------------------------------------------


def test_a_file_without_room_is_refused_before_it_is_written(on_disk):
    with pytest.raises(UsageError, match=r"do not fit into .*--data"):
        stream_rows(on_disk, pictures=10**9)
    assert list(on_disk.iterdir()) == []


def test_a_folder_that_lies_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "in_memory", lambda path: 1.0)  # as tmpfs does
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: None, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    with pytest.raises(UsageError, match=r"100% of a file .* stay in memory, .*--data"):
        stream_rows(tmp_path, pictures=4)
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_drops_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with pytest.raises(UsageError, match="cannot drop a file"):
        stream_rows(tmp_path, pictures=4)


def test_a_file_is_noise_behind_a_header_and_not_in_memory(on_disk):
    with disk.made_up(on_disk, (40, 256, 256, 3)) as path:
        assert disk.in_memory(path) < 0.01
        array = np.load(path, mmap_mode="r")
        assert (array.shape, array.dtype) == ((40, 256, 256, 3), np.uint8)
        assert np.bincount(array[-1].ravel(), minlength=256).std() < 50  # 768 of each, by chance 28
        array[0].sum()
        assert LENGTH / path.stat().st_size <= disk.in_memory(path) <= 1
        path.read_bytes()
        assert disk.in_memory(path) == 1
        del array  # what is mapped cannot be dropped
        disk.drop(path)
        assert disk.in_memory(path) < 0.01


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_every_place_is_read_whole_past_the_cache(on_disk, monkeypatch, at_once):
    read, preadv = [], os.preadv

    def noting(handle, buffers, start):
        length = preadv(handle, buffers, start)
        read.append((start, length, bytes(buffers[0][:length])))
        return length

    monkeypatch.setattr(os, "preadv", noting)
    with disk.made_up(on_disk, (20, 64, 64, 3)) as path:
        starts = [128 + 12288 * n for n in (7, 0, 19, 3)]  # the last picture ends with the file
        assert disk.at_random(path, starts, 12288, at_once) > 0
        assert disk.in_memory(path) < 0.01
        content = path.read_bytes()
    assert sorted(start for start, *_ in read) == [
        4096 * (start // 4096) for start in sorted(starts)
    ]
    for start, length, found in read:
        assert found == content[start : start + length]
        assert any(start <= s and s + 12288 <= start + length for s in starts)


def test_a_place_behind_the_end_is_an_error(on_disk):
    with (
        disk.made_up(on_disk, (4, 64, 64, 3)) as path,
        pytest.raises(OSError, match="could not be read whole"),
    ):
        disk.at_random(path, [path.stat().st_size - 100], 12288, 1)


def test_a_file_system_without_direct_reading_is_named(tmp_path, monkeypatch):
    def refused(*args):
        raise OSError(22, "Invalid argument")

    path = tmp_path / "a" / "images.npy"
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UsageError, match=f"{tmp_path} cannot be read past .*Invalid argument"):
        disk.at_random(Path(path), [0], 12, 1)
