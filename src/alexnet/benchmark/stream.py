"""Pictures in random order from a file larger than memory, next to reading it from end to end."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.ahead import Ahead
from alexnet.data.stream import read_rows
from alexnet.errors import UsageError
from alexnet.run.device import Device, environment, resident_memory
from alexnet.run.stamp import commit, today


@dataclass(frozen=True)
class StreamSpeed:
    """How fast pictures come from a file in random order. Rates in bytes/s, memory in bytes."""

    pictures: int
    picture_bytes: int
    batch: int
    random_rate: float  # every picture once, in random order, batch by batch
    sequential_rate: float  # the same file from its first byte to its last
    share: float  # random_rate / sequential_rate
    resident_growth: int  # of this process while reading; 0 where the system does not say
    environment: dict[str, Any]
    commit: str
    date: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, to be kept as a record under ``benchmarks/``."""
        return asdict(self)


def stream_speed(
    folder: Path, *, pictures: int = 4096, size: int = 256, batch: int = 128
) -> StreamSpeed:
    """Time reading a made-up cache of ``pictures`` of ``size`` x ``size`` as training reads a large one.

    The file, ``pictures`` x ``size``² x 3 bytes, is written into ``folder`` and removed again. The
    system's cache of it is dropped before each pass, and every picture is read once, so that all
    comes from the disk, however little or much memory there is. Raises ``UsageError`` for counts
    below 1 or a system that cannot drop a file's cache.
    """
    if min(pictures, size, batch) < 1:
        raise UsageError(
            f"pictures, size and batch must be at least 1: {pictures}, {size}, {batch}"
        )
    if not hasattr(os, "posix_fadvise"):
        raise UsageError("this system cannot drop a file from its cache, so nothing is measured")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        path = Path(work) / "images.npy"
        _make_up(path, (pictures, size, size, 3))
        sequential = _rate(path, lambda: _read_through(path))
        array = np.asarray(np.load(path, mmap_mode="r"))
        growth = 0

        def read() -> None:
            nonlocal growth
            growth = _read_at_random(array, batch)

        random = _rate(path, read)
    cpu = Device(torch.device("cpu"), "float32")
    return StreamSpeed(
        pictures=pictures,
        picture_bytes=size * size * 3,
        batch=batch,
        random_rate=random,
        sequential_rate=sequential,
        share=random / sequential,
        resident_growth=growth,
        environment=environment(cpu),
        commit=commit(),
        date=today(),
    )


def _make_up(path: Path, shape: tuple[int, ...]) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    draw = np.random.default_rng(0)
    for start in range(0, len(array), 64):  # noise, which no disk can compress
        part = array[start : start + 64]
        part[:] = np.frombuffer(draw.bytes(part.size), np.uint8).reshape(part.shape)
    array.flush()


def _rate(path: Path, read: Callable[[], None]) -> float:
    """Return the bytes a second of a reading of the whole file, none of it in memory before."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    read()
    return path.stat().st_size / (time.perf_counter() - start)


def _read_through(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        block = bytearray(8 << 20)
        while file.readinto(block):
            pass


def _read_at_random(array: NDArray[np.uint8], batch: int) -> int:
    """Read every picture once, ahead as in training; return by how much memory grew."""
    sequence = np.random.default_rng(1).permutation(len(array))
    parts = [sequence[i : i + batch] for i in range(0, len(array), batch)]
    before, most = resident_memory(), 0
    with Ahead(read_rows(array, part, large=0) for part in parts) as ahead:
        for _ in ahead:
            most = max(most, resident_memory() - before)
    return most


def stream_text(found: StreamSpeed) -> str:
    """Write one measurement for a terminal."""
    total = found.pictures * found.picture_bytes
    return (
        f"{found.pictures:,} pictures of {found.picture_bytes:,} bytes, {total / 1e9:.2f} GB, none of "
        f"it in memory before\n"
        f"  random      {found.random_rate / 1e6:,.0f} MB/s in batches of {found.batch}, "
        f"{found.random_rate / found.picture_bytes:,.0f} pictures/s\n"
        f"  sequential  {found.sequential_rate / 1e6:,.0f} MB/s\n"
        f"  share       {found.share:.2f}\n"
        f"  memory      grew by {found.resident_growth / 2**20:.0f} MiB at most"
    )
