"""What a disk gives of a made-up file: from end to end, and at random places, some asked for at once."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from alexnet.data.cache import array_header
from alexnet.errors import UsageError

BLOCK = 4096  # bytes: reads past the system's cache begin and end at a multiple
_PIECE = 16 << 20  # bytes, written or read at a time
_KEPT = 0.01  # of a file that may stay in memory when it is dropped


@contextmanager
def made_up(folder: Path, shape: tuple[int, ...]) -> Iterator[Path]:
    """Write an array of noise, uint8 of ``shape``, as a cache does into ``folder``; removed after.

    Raises ``UsageError`` where there is no room for it, or where no disk would be measured.
    """
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "O_DIRECT"):
        raise UsageError("this system cannot drop a file from its cache, so no disk is measured")
    folder.mkdir(parents=True, exist_ok=True)
    size, free = math.prod(shape), shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"{size / 1e9:,.1f} GB of made-up pictures do not fit into {folder}, where "
            f"{free / 1e9:,.1f} GB are free; ask for fewer pictures, or for another folder (--data)"
        )
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as work:
        path = Path(work) / "images.npy"
        _write(path, shape, size)
        drop(path)
        yield path


def _write(path: Path, shape: tuple[int, ...], size: int) -> None:
    draw = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(array_header(shape, "uint8"))
        for start in range(0, size, _PIECE):  # noise, which no disk can compress
            file.write(draw.bytes(min(_PIECE, size - start)))


def drop(path: Path) -> None:
    """Have the system forget what it holds of a file in memory.

    Raises ``UsageError`` where it does not, as of a file system that lies in memory itself.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if (kept := in_memory(path)) > _KEPT:
        raise UsageError(
            f"{kept:.0%} of a file in {path.parent.parent} stay in memory, so no disk is measured; "
            "name a folder on a disk (--data)"
        )


def in_memory(path: Path) -> float:
    """Return the share of a file's pages that the system holds in memory."""
    content = np.memmap(path, np.uint8, "r")
    held = np.zeros(-(-len(content) // mmap.PAGESIZE), np.uint8)
    of, to = ctypes.c_void_p(content.ctypes.data), ctypes.c_void_p(held.ctypes.data)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(of, ctypes.c_size_t(len(content)), to):
        raise OSError(ctypes.get_errno(), f"{path}: mincore failed")
    return float((held & 1).mean())


def from_end_to_end(path: Path) -> float:
    """Return the bytes/s of one plain reading of a file, none of which is in memory before."""
    drop(path)
    start, block = time.perf_counter(), bytearray(_PIECE)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return path.stat().st_size / (time.perf_counter() - start)


def at_random(path: Path, starts: Sequence[int], length: int, at_once: int) -> float:
    """Return the bytes/s of reading ``length`` bytes at each of ``starts``, past the system's cache.

    ``at_once`` threads read one after the other, so that as many reads are asked for at any time.
    Raises ``UsageError`` for a file system that reads through its cache only.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        raise UsageError(
            f"{path.parent.parent} cannot be read past the system's cache ({error.strerror}), so "
            "no disk is measured; name a folder on a disk (--data)"
        ) from None
    try:
        start = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            parts = [starts[first::at_once] for first in range(at_once)]
            list(pool.map(lambda part: _read_each(handle, part, length), parts))
        return len(starts) * length / (time.perf_counter() - start)
    finally:
        os.close(handle)


def _read_each(handle: int, starts: Sequence[int], length: int) -> None:
    buffer = memoryview(mmap.mmap(-1, length + 2 * BLOCK))  # begins at a page, as it must
    for start in starts:
        first, stop = start // BLOCK * BLOCK, -(-(start + length) // BLOCK) * BLOCK
        if os.preadv(handle, [buffer[: stop - first]], first) < start + length - first:
            raise OSError(f"{length:,} bytes at {start:,} could not be read whole")
