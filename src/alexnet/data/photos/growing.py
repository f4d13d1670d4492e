"""A cache that is filled row by row, in any order, and closed when all is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.cache import array_header
from alexnet.data.photos.journal import Journal
from alexnet.data.photos.listing import Listing
from alexnet.errors import DataError

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Growing:
    """The cache of ``listing`` under construction in ``work``; its pictures are ``size`` pixels square."""

    work: Path
    listing: Listing
    size: int

    @cached_property
    def parts(self) -> np.ndarray:
        """The part of each picture, (N,) str."""
        return np.array([entry.part for entry in self.listing.entries])

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each picture in the array of its part, (N,) int64."""
        rows = np.empty(len(self.parts), np.int64)
        for part in self.listing.parts:
            mine = self.parts == part
            rows[mine] = np.arange(mine.sum())
        return rows

    def shape(self, part: str) -> tuple[int, int, int, int]:
        """Return the shape of a part with all its pictures, also those that cannot be read."""
        return int((self.parts == part).sum()), self.size, self.size, 3

    def path(self, part: str) -> Path:
        """Return the file of a part's pixels."""
        return self.work / f"{part}-images.npy"

    @cached_property
    def start(self) -> int:
        """Where the pixels begin in every file."""
        return len(array_header((0, self.size, self.size, 3), "uint8"))

    def pixels(self) -> dict[str, np.ndarray]:
        """Map the arrays of all parts."""
        return {
            part: np.memmap(self.path(part), np.uint8, "r", self.start, self.shape(part))
            for part in self.listing.parts
        }

    def reader(self) -> Callable[[int], np.ndarray]:
        """Return what gives the stored pixels of a picture by its place in the listing."""
        pixels = self.pixels()
        return lambda i: np.asarray(pixels[str(self.parts[i])][self.rows[i]])

    def open(self, say: Say) -> Journal:
        """Make room for all pictures, or find what a killed intake had done."""
        begun = self.work.exists()
        self.work.mkdir(exist_ok=True)
        for part in self.listing.parts:
            self._make_room(part)
        notes = Journal(self.work, len(self.parts))
        done = notes.distrust(self.pixels(), self.parts, self.rows) if begun else 0
        if done:
            say(f"going on: {done:,} of {len(self.parts):,} pictures were read before")
        return notes

    def _make_room(self, part: str) -> None:
        shape, path = self.shape(part), self.path(part)
        wanted = self.start + int(np.prod(shape))
        have = _taken(path.stat()) if path.exists() else 0
        free = shutil.disk_usage(self.work).free
        if free < wanted - have:
            raise DataError(
                f"{self.work.parent} has {free / 1e9:.1f} GB free, but {shape[0]:,} pictures of "
                f"{self.size}x{self.size} need {wanted / 1e9:.1f} GB; set ALEXNET_DATA to a folder "
                "with room, or ask for a smaller size"
            )
        with path.open("ab") as file:
            file.truncate(wanted)

    def seal(self, part: str, kept: np.ndarray, crcs: np.ndarray) -> dict[str, Any]:
        """Close the gaps of a part and give its file a header; return its facts for the manifest.

        ``kept``: places in the listing of the pictures that stay, ``crcs``: the CRC-32 of every
        picture's pixels, taken before they were written. Raises DataError where the disk gives
        back others.
        """
        header, length = array_header((len(kept), *self.shape(part)[1:]), "uint8"), self.size**2 * 3
        digest, pixels = hashlib.sha256(header), bytearray(length)  # one, read into again and again
        with self.path(part).open("r+b", buffering=0) as file:
            file.write(header)
            for to, i in enumerate(kept):
                file.seek(self.start + int(self.rows[i]) * length)
                if file.readinto(pixels) != length or zlib.crc32(pixels) != crcs[i]:
                    raise DataError(f"{part}: the disk gives back other pixels than were written")
                digest.update(pixels)
                if to != self.rows[i]:
                    file.seek(self.start + to * length)
                    file.write(pixels)
            size = file.truncate(self.start + len(kept) * length)
            os.fsync(file.fileno())
        shape = [len(kept), *self.shape(part)[1:]]
        return {"shape": shape, "dtype": "uint8", "bytes": size, "sha256": digest.hexdigest()}


def _taken(file: os.stat_result) -> int:
    """Return the bytes that a file takes on the disk; Windows, which tells none, fills its holes."""
    return file.st_blocks * 512 if hasattr(file, "st_blocks") else file.st_size
