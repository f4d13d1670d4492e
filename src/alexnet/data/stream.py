"""Rows of an array that may be larger than memory: asked for together, read, let go. No torch here.

A memory map reads page by page as they are touched, and what was touched stays resident: slow from
a disk, and as large as the file. So the system is told of whole batches before they are read, in the
order of the file, two of them ahead so that the disk never stands still, and the pages are given back
after.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 30  # bytes: a smaller file stays mapped, since to map its pages again costs time
BEHIND = 2  # one may lie in memory when it is due, and the disk then still has work


def told(
    parts: Iterable[NDArray[np.int64]],
    tell: Callable[[NDArray[np.int64]], None],
    behind: int = BEHIND,
) -> Iterator[NDArray[np.int64]]:
    """Yield ``parts`` in their order, each once ``tell`` was called with it and with ``behind`` more.

    With ``tell_of`` for ``tell``, at most ``behind`` parts lie in the system's cache unread.
    """
    waiting: deque[NDArray[np.int64]] = deque()
    for part in parts:
        tell(part)
        waiting.append(part)
        if len(waiting) > behind:
            yield waiting.popleft()
    yield from waiting


def tell_of(array: NDArray[np.uint8], at: NDArray[np.int64], *, large: int = LARGE) -> None:
    """Tell the system that ``array[at]`` will be read, and return at once.

    Nothing is done where ``read_rows`` would keep the pages: an array of at most ``large`` bytes, or
    one that is not memory-mapped.
    """
    mapped = _streamed(array, large)
    if mapped is None:
        return
    header = array.ctypes.data - np.frombuffer(mapped, np.uint8, 1).ctypes.data
    for start, stop in _stretches(np.sort(at) * array[0].nbytes + header, array[0].nbytes):
        mapped.madvise(mmap.MADV_WILLNEED, start, min(stop, len(mapped)) - start)


def read_rows(
    array: NDArray[np.uint8], at: NDArray[np.int64], *, large: int = LARGE
) -> NDArray[np.uint8]:
    """Return ``array[at]``; of a file of more than ``large`` bytes, without keeping its pages.

    ``array`` is C-ordered, in memory or memory-mapped.
    """
    mapped = _streamed(array, large)
    if mapped is None:
        return array[at]
    tell_of(array, at, large=large)  # again, if told: what has left the cache since comes at once
    rows = array[at]
    mapped.madvise(mmap.MADV_DONTNEED)
    return rows


def _streamed(array: NDArray[np.uint8], large: int) -> mmap.mmap | None:
    """Return the map that ``array`` is read from without keeping its pages; None: as memory."""
    if array.nbytes <= large or not hasattr(mmap, "MADV_WILLNEED"):
        return None
    return _map_of(array)


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
