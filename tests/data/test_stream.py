"""Rows of a file larger than memory: those of indexing, asked for in time, and let go."""

import mmap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from alexnet.benchmark import disk
from alexnet.data import stream
from alexnet.data.stream import read_rows, tell_of, told

LENGTH = 196608


@pytest.fixture
def mapped(tmp_path):
    """A file of 64 MiB, most of it a hole, as an array behind a header."""
    path = tmp_path / "images.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(341, 256, 256, 3))
    array[::7] = np.arange(0, 341, 7, dtype=np.uint8)[:, None, None, None]
    array.flush()
    del array
    return np.asarray(np.load(path, mmap_mode="r"))


def test_rows_are_those_of_indexing(mapped):
    at = np.array([333, 7, 7, 0, 8, 340])
    for part in (mapped, mapped[3:]):
        inside = at % len(part)
        assert np.array_equal(read_rows(part, inside, large=0), part[inside])
    assert read_rows(mapped, at[:0], large=0).shape == (0, 256, 256, 3)
    assert np.array_equal(
        read_rows(np.arange(12).reshape(4, 3), at[1:4] % 4, large=0)[0], [9, 10, 11]
    )


def test_what_is_asked_for_covers_the_rows_and_little_more(mapped, monkeypatch):
    asked = list(stream._stretches(np.sort(np.array([0, 2, 100])) * 196608 + 128, 196608))
    assert asked == [(0, 200704), (393216, 593920), (19660800, 19861504)]
    joined = list(stream._stretches(np.arange(3) * 3072, 3072))
    assert joined == [(0, 12288)]


def resident():
    return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE  # shared


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_resident_memory_does_not_grow_with_the_file(mapped):
    """64 MiB are read in all, and no more than a batch of it stays."""
    before = resident()
    for start in range(0, 341, 31):
        read_rows(mapped, np.arange(start, start + 31), large=0)
        assert resident() - before < 12 << 20
    for start in range(0, 341, 31):  # the control: what indexing does
        mapped[np.arange(start, start + 31)].sum()
    assert resident() - before > 40 << 20


# --- asked for before it is due --------------------------------------------------------------


@pytest.mark.parametrize("parts", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("behind", [0, 1, 2])
def test_parts_come_in_order_and_as_many_behind_are_told_of(parts, behind):
    asked: list[int] = []
    given = []
    every = (np.array([n]) for n in range(parts))
    for part in told(every, lambda part: asked.append(int(part[0])), behind):
        given.append(int(part[0]))
        assert asked == list(range(min(given[-1] + behind + 1, parts)))
    assert given == asked == list(range(parts))


def test_nothing_is_told_of_before_a_part_is_wanted():
    asked: list[int] = []
    told((np.array([n]) for n in range(9)), lambda part: asked.append(int(part[0])))
    assert asked == []


def settled(path, least):
    """The bytes of a file in memory, once they are ``least``, or after five seconds."""
    end = time.monotonic() + 5
    while (found := disk.in_memory(path) * path.stat().st_size) < least:
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    return found


def test_what_is_told_of_is_fetched_and_nothing_else(mapped, on_disk):
    path, at = on_disk / "images.npy", np.array([5, 200, 78])
    disk.drop(path)
    tell_of(mapped, at)  # as memory: smaller than LARGE
    time.sleep(0.1)
    assert disk.in_memory(path) == 0
    tell_of(mapped, at, large=0)
    fetched = settled(path, 3 * LENGTH)
    assert 3 * LENGTH <= fetched <= 3 * (LENGTH + 2 * 4096)


def test_an_array_in_memory_needs_no_telling():
    tell_of(np.zeros((4, 8), np.uint8), np.array([0, 3]), large=0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_what_was_told_of_is_not_this_process_memory(mapped):
    """The control stands above: indexing keeps what it reads."""
    before = resident()
    parts = (np.arange(start, start + 31) for start in range(0, 341, 31))
    for part in told(parts, partial(tell_of, mapped, large=0)):
        read_rows(mapped, part, large=0)
        assert resident() - before < 12 << 20
