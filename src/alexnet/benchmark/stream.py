"""Pictures in random order from a file larger than memory, beside what its disk gives."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.benchmark import disk
from alexnet.benchmark.record import Row, Spread
from alexnet.data.ahead import Ahead
from alexnet.data.loader import Source, training_batches
from alexnet.errors import UsageError
from alexnet.run.device import resident_memory

AT_ONCE = (1, 4, 16, 64)  # reads asked for at any time
_SAMPLE = 2048  # pictures of a reading at random


@dataclass(frozen=True)
class StreamSpeed:
    """One reading of all pictures of a file, and the disk beside it. Rates in pictures/s."""

    random: float  # every picture once, in an epoch's order, batch by batch, read ahead
    sequential: float  # the same file from its first byte to its last
    limits: Mapping[int, tuple[float, ...]]  # some pictures at random, by how many at once
    core_seconds: float  # of a processor for each picture of ``random``
    growth: int  # bytes of this process meanwhile, at most; 0 where the system does not say


def stream_rows(
    folder: Path, *, pictures: int = 4096, size: int = 256, batch: int = 128, rounds: int = 3
) -> list[Row]:
    """Time a made-up cache of ``pictures`` of ``size`` x ``size``, read as training reads a large one.

    The file, ``pictures`` x ``size``² x 3 bytes, is written into ``folder`` and removed again. The
    system's cache of it is dropped before each of the ``rounds``, in which every picture is read once:
    all comes from the disk, however much memory there is. Raises ``UsageError`` for counts below 1,
    and where the disk has no room or cannot be measured.
    """
    counts = {"pictures": pictures, "size": size, "batch": batch, "rounds": rounds}
    if min(counts.values()) < 1:
        raise UsageError(f"{', '.join(counts)} must be at least 1: {[*counts.values()]}")
    with disk.made_up(folder, (pictures, size, size, 3)) as path:
        found = [stream_speed(path, batch) for _ in range(rounds)]
    return _rows(
        found, f"reading {size}x{size} in random order, {batch} a batch", pictures * size**2 * 3
    )


def stream_speed(path: Path, batch: int) -> StreamSpeed:
    """Time one reading of a cache's array as training reads it, the disk just before and just after."""
    images = np.asarray(np.load(path, mmap_mode="r"))
    count, length = len(images), images[0].nbytes
    sequential, before = disk.from_end_to_end(path) / length, _limits(path, images)
    disk.drop(path)
    wall, cores = time.perf_counter(), time.process_time()
    growth = _read_ahead(images, batch)
    wall, cores = time.perf_counter() - wall, time.process_time() - cores
    after = _limits(path, images)
    limits = {n: (before[n], after[n]) for n in AT_ONCE}
    return StreamSpeed(count / wall, sequential, limits, cores / count, growth)


def _limits(path: Path, images: NDArray[np.uint8]) -> dict[int, float]:
    """Return the rate of some pictures at random places, others for each number at once."""
    length, found = images[0].nbytes, {}
    header = path.stat().st_size - images.nbytes
    for n in AT_ONCE:
        some = np.random.default_rng(n).permutation(len(images))[:_SAMPLE]
        found[n] = disk.at_random(path, (header + some * length).tolist(), length, n) / length
    return found


def _read_ahead(images: NDArray[np.uint8], batch: int) -> int:
    """Read an epoch as ``training.loop`` does; return by how many bytes memory grew, at most."""
    count = len(images)
    source = Source(images, np.zeros(count, np.int64), np.arange(count), large=0)
    before, most = resident_memory(), 0
    epoch = training_batches(source, batch, seed=0, epoch=0, device=torch.device("cpu"))
    with Ahead(epoch) as ahead:
        for _ in ahead:
            most = max(most, resident_memory() - before)
    return most


def _rows(found: Sequence[StreamSpeed], what: str, file: int) -> list[Row]:
    """Set what was read beside the disk's best at random, and that beside it from end to end."""
    unit, mib = "pictures/s", 2**20
    whole = Row("the disk from end to end", unit, Spread.of(f.sequential for f in found))
    each = {n: Spread.of(rate for f in found for rate in f.limits[n]) for n in AT_ONCE}
    limits = [Row(f"the disk at random, {n} at once", unit, each[n]).over(whole) for n in AT_ONCE]
    best = max(limits, key=lambda limit: limit.ratio or 0.0)
    cost = {"us of a core": 1e6 * Spread.of(f.core_seconds for f in found).median}
    ours = Row(what, unit, Spread.of(f.random for f in found), more=cost, headline=True).over(best)
    grown = Spread.of(f.growth / mib for f in found)
    memory = Row("memory grown meanwhile", "MiB", grown, "the file", grown.median / (file / mib))
    return [ours, *limits, whole, memory]
