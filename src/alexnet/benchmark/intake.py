"""The intake of photographs next to a bare loop of Pillow on the same files."""

from __future__ import annotations

import io
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.photos import folders
from alexnet.data.photos.intake import Plan, take_in
from alexnet.data.photos.listing import Entry, Listing, Supply
from alexnet.errors import UsageError


@dataclass(frozen=True)
class IntakeSpeed:
    """Pictures a second of one core, that is per second of processor time of all processes."""

    pictures: int
    size: int
    mean_bytes: float  # of a picture file
    ours: float  # listing excepted: reading, decoding, noting, storing, checking, report
    bare: float  # Pillow alone: decode, convert, resize, crop; nothing kept
    share: float  # ours / bare
    ours_each: tuple[float, ...] = ()  # of the three rounds that ours is the median of


def intake_speed(path: str | Path, *, size: int = 256, pictures: int = 1000) -> IntakeSpeed:
    """Set the intake of photographs beside a bare loop of the same library on the same files.

    ``path``: an archive (.tar) or a folder of photographs, of which about ``pictures`` are taken.
    The two run one after the other three times and the medians are compared. Raises ``UsageError``
    or ``DataError`` for a path that is no such data set.
    """
    listing = folders.supply(Path(path)).listing()
    if listing.packed:
        raise UsageError(
            f"{path} is compressed, which would be measured too; give a .tar or a folder"
        )
    step = max(1, len(listing.entries) // pictures)
    entries = tuple(e for e in listing.entries[::step] if e.member)
    some = replace(listing, entries=entries)
    files = [_bytes_of(entry) for entry in entries]
    bare, ours = [], []
    for _ in range(3):
        bare.append(_processor_seconds(lambda: _bare(files, size)))
        ours.append(_processor_seconds(lambda: _intake(some, size)))
    with_, without = (len(files) / statistics.median(seconds) for seconds in (ours, bare))
    mean = sum(map(len, files)) / len(files)
    each = tuple(len(files) / seconds for seconds in ours)
    return IntakeSpeed(len(files), size, mean, with_, without, with_ / without, each)


def _bytes_of(entry: Entry) -> bytes:
    assert entry.member
    with open(entry.member.path, "rb") as file:
        file.seek(entry.member.offset)
        return file.read(entry.member.size)


def _intake(listing: Listing, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supply = Supply("bench", lambda: listing, "a benchmark")
        plan = Plan("bench", size, quiet=True, workers=1)
        take_in(Path(folder) / "cache", supply, plan, lambda _: None)


def _bare(files: Sequence[bytes], size: int) -> None:
    for data in files:
        with Image.open(io.BytesIO(data)) as picture:
            rgb = picture.convert("RGB")
        width, height = (size * side // min(rgb.size) for side in rgb.size)
        scaled = rgb.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
        np.asarray(scaled.crop((left, top, left + size, top + size)))


def _processor_seconds(work: Callable[[], None]) -> float:
    """Of this process and of those that it started and that have ended."""
    before = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - before
