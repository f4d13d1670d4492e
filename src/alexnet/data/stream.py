"""Rows of an array that may be larger than memory: asked for together, read, let go. No torch here.

A memory map reads page by page as they are touched, and what was touched stays resident: slow from
a disk, and as large as the file. So the system is told of a whole batch before it is read, in the
order of the file, and the pages are given back after.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 30  # bytes: a smaller file stays mapped, since to map its pages again costs time


def read_rows(
    array: NDArray[np.uint8], at: NDArray[np.int64], *, large: int = LARGE
) -> NDArray[np.uint8]:
    """Return ``array[at]``; of a file of more than ``large`` bytes, without keeping its pages.

    ``array`` is C-ordered, in memory or memory-mapped.
    """
    mapped = _map_of(array) if array.nbytes > large else None
    if mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
        return array[at]
    header = array.ctypes.data - np.frombuffer(mapped, np.uint8, 1).ctypes.data
    for start, stop in _stretches(np.sort(at) * array[0].nbytes + header, array[0].nbytes):
        mapped.madvise(mmap.MADV_WILLNEED, start, min(stop, len(mapped)) - start)
    rows = array[at]
    mapped.madvise(mmap.MADV_DONTNEED)
    return rows


def _map_of(array: NDArray[np.uint8]) -> mmap.mmap | None:
    """Return the map that an array of whole rows, one behind the other, lies in, if there is one."""
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) and array.flags.c_contiguous else None


def _stretches(starts: NDArray[np.int64], length: int) -> Iterator[tuple[int, int]]:
    """Join rows that share or touch pages into stretches from one page's start to another's."""
    page = mmap.PAGESIZE
    first = starts // page * page
    last = -(-(starts + length) // page) * page
    breaks = np.flatnonzero(first[1:] > last[:-1]) + 1
    for part in np.split(np.arange(len(starts)), breaks):
        if len(part):
            yield int(first[part[0]]), int(last[part[-1]])
