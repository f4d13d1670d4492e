"""The intake of photographs next to bare loops of Pillow on the same files.

Per second of processor time of all processes, since a busy machine adds little to it. What a process
needs to start is measured apart: it is paid once, whether a hundred pictures follow or a million.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.photos import folders, pool
from alexnet.data.photos.intake import Plan, take_in
from alexnet.data.photos.listing import Entry, Listing, Supply
from alexnet.data.squares import look
from alexnet.errors import BadPicture, DataError, UsageError

ROUNDS = 5


@dataclass(frozen=True)
class IntakeSpeed:
    """Seconds of processor time of the same ``pictures``, one value a round.

    In a round all are measured, one after the other: compare them round by round.
    """

    pictures: int
    size: int
    mean_bytes: float  # of a picture file
    decoded: tuple[float, ...]  # Pillow alone: decode, convert; nothing kept
    fitted: tuple[float, ...]  # Pillow alone: decode, convert, resize, crop; nothing kept
    whole: tuple[
        float, ...
    ]  # listing excepted: reading, decoding, noting, storing, checking, report
    start: tuple[float, ...]  # of the one process that decoded them: what it takes with no picture

    @property
    def steady(self) -> tuple[float, ...]:
        """The whole intake but for the start of its process."""
        return tuple(max(w - s, 1e-9) for w, s in zip(self.whole, self.start, strict=True))

    def rates(self, seconds: Sequence[float]) -> tuple[float, ...]:
        """Return pictures a second."""
        return tuple(self.pictures / s for s in seconds)


def by_rounds(part: Sequence[float], whole: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(p / w for p, w in zip(part, whole, strict=True))


def intake_speed(
    path: str | Path, *, size: int = 256, pictures: int = 1000, rounds: int = ROUNDS
) -> IntakeSpeed:
    """Set the intake of photographs beside bare loops of the same library on the same files.

    ``path``: an archive (.tar) or a folder of photographs, of which about ``pictures`` are taken;
    those that cannot be read are left out, as no bare loop would get past them. Raises
    ``UsageError`` or ``DataError`` for a path that is no such data set.
    """
    some, files = _readable(folders.supply(Path(path)).listing(), pictures, size, path)
    spent = [_round(some, files, size) for _ in range(rounds)]
    mean = sum(map(len, files)) / len(files)
    return IntakeSpeed(len(files), size, mean, *zip(*spent, strict=True))


def _readable(
    listing: Listing, pictures: int, size: int, path: str | Path
) -> tuple[Listing, list[bytes]]:
    if listing.packed:
        raise UsageError(
            f"{path} is compressed, which would be measured too; give a .tar or a folder"
        )
    step = max(1, len(listing.entries) // pictures)
    chosen = dict.fromkeys([*listing.entries[::step], *_one_of_each(listing.entries)])
    kept = {entry: data for entry in chosen for data in _bytes_of(entry, size)}
    if not kept:
        raise DataError(f"{path}: none of {len(chosen):,} pictures can be read")
    entries = tuple(entry for entry in listing.entries if entry in kept)
    return replace(listing, entries=entries), [kept[entry] for entry in entries]


def _one_of_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    """One of every class of every part: an intake refuses a class of nothing."""
    yield from {(entry.part, entry.label): entry for entry in entries if entry.member}.values()


def _bytes_of(entry: Entry, size: int) -> Iterator[bytes]:
    """The bytes of a file, unless they cannot be read."""
    if entry.member is None:
        return
    try:
        with open(entry.member.path, "rb") as file:
            file.seek(entry.member.offset)
            data = file.read(entry.member.size)
        look(data, entry.name, size)
        yield data
    except (BadPicture, OSError):
        return


def _round(some: Listing, files: Sequence[bytes], size: int) -> list[float]:
    """Seconds of all that is compared: to remove the cache again is no part of them."""
    with tempfile.TemporaryDirectory() as folder:
        loops: tuple[Callable[[], object], ...] = (
            lambda: [_decoded(data) for data in files],
            lambda: [_fitted(data, size) for data in files],
            lambda: _intake(Path(folder) / "cache", some, size),
            _start,
        )
        return [_processor_seconds(loop) for loop in loops]


def _intake(folder: Path, listing: Listing, size: int) -> None:
    supply = Supply("bench", lambda: listing, "a benchmark")
    plan = Plan("bench", size, quiet=True, workers=1)
    take_in(folder, supply, plan, lambda _: None)


def _start() -> None:
    settings = {"size": 1, "fit": "crop", "start": 0, "files": {}}
    with pool.process() as idle:
        idle.communicate(json.dumps(settings).encode() + b"\n")


def _decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def _fitted(data: bytes, size: int) -> np.ndarray:
    rgb = _decoded(data)
    width, height = (size * side // min(rgb.size) for side in rgb.size)
    scaled = rgb.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


def _processor_seconds(work: Callable[[], object]) -> float:
    """Of this process and of those that it started and that have ended."""
    before = _spent()
    work()
    return _spent() - before


def _spent() -> float:
    if sys.platform == "win32":
        return sum(os.times()[:4])
    import resource  # of which a clock's tick, ten milliseconds of os.times, is no part

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime
