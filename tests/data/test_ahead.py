"""Reading ahead: the same items in the same order, errors where they are due, a clean end."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import stream
from alexnet.data.ahead import Ahead
from alexnet.data.stream import read_rows


def readers():
    return [t for t in threading.enumerate() if t.name == "read-ahead"]


def test_the_same_items_in_the_same_order():
    with Ahead(range(100), depth=3) as ahead:
        assert list(ahead) == list(range(100))
    assert not readers()


def test_no_more_than_the_depth_is_made_in_advance():
    made = []
    with Ahead((made.append(n) for n in range(100)), depth=2) as ahead:
        next(iter(ahead))
        time.sleep(0.2)
        assert len(made) <= 4  # one taken, two ready, one waiting for room


def test_an_error_is_raised_where_the_item_was_due():
    def items():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    seen = []

    def work():
        with Ahead(items()) as ahead:
            for item in ahead:
                seen.append(item)

    with pytest.raises(OSError, match="the disk is gone"):
        work()
    assert seen == [1, 2]
    assert not readers()


@pytest.mark.parametrize("fault", [None, KeyboardInterrupt, ValueError])
def test_leaving_ends_the_thread(fault):
    def leave():
        with Ahead(range(10**9), depth=2) as ahead:
            for item in ahead:
                if item == 5 and fault:
                    raise fault
                if item == 5:
                    break

    if fault:
        with pytest.raises(fault):
            leave()
    else:
        leave()
    assert not readers()


def test_waiting_is_measured_and_work_beside_it_is_not():
    def slow():
        for n in range(4):
            time.sleep(0.05)
            yield n

    with Ahead(slow()) as ahead:
        assert len(list(ahead)) == 4
    assert ahead.waited >= 0.15
    with Ahead(range(4)) as quick:
        for _ in quick:
            time.sleep(0.05)
    assert quick.waited < 0.1


# --- larger than memory ----------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path):
    """A file of 64 MiB, most of it a hole, as an array behind a header."""
    path = tmp_path / "images.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(341, 256, 256, 3))
    array[::7] = np.arange(0, 341, 7, dtype=np.uint8)[:, None, None, None]
    array.flush()
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


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_resident_memory_does_not_grow_with_the_file(mapped):
    """64 MiB are read in all, and no more than a batch of it stays."""
    import mmap

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE  # shared

    before = resident()
    for start in range(0, 341, 31):
        read_rows(mapped, np.arange(start, start + 31), large=0)
        assert resident() - before < 12 << 20
    for start in range(0, 341, 31):  # the control: what indexing does
        mapped[np.arange(start, start + 31)].sum()
    assert resident() - before > 40 << 20
