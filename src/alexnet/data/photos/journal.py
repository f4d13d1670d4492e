"""How far an intake has come, on the disk: what a killed one had done is not done again."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet.data.photos.records import RECORD
from alexnet.data.photos.states import STORED, UNREADABLE, WAITING

RECORDS, FAULTS = "records.bin", "faults.jsonl"


class Journal:
    """A record for each picture of a listing, and the reasons of those that cannot be read."""

    def __init__(self, folder: Path, count: int) -> None:
        """Open the journal in ``folder``, or begin it; ``count`` pictures are listed."""
        self._path, self._faults = folder / RECORDS, folder / FAULTS
        with self._path.open("ab") as file:
            file.truncate(count * RECORD.itemsize)
        self.records = np.fromfile(self._path, RECORD)
        self.faults = dict(_read_faults(self._faults))
        for i in np.flatnonzero(self.records["state"] == UNREADABLE):
            if int(i) not in self.faults:
                self.records["state"][i] = WAITING

    def note(self, at: Sequence[int], records: np.ndarray, faults: Mapping[int, str]) -> None:
        """Keep what became of the pictures ``at``; ``faults`` has reasons by place in ``at``."""
        reasons = {at[place]: reason for place, reason in faults.items()}
        if reasons:
            with self._faults.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([i, reason]) + "\n" for i, reason in reasons.items())
        self.faults |= reasons
        self.records[list(at)] = records
        packed, size = records.tobytes(), RECORD.itemsize
        with self._path.open("r+b", buffering=0) as file:
            for place, i in enumerate(at):
                file.seek(i * size)
                file.write(packed[place * size : (place + 1) * size])

    def waiting(self) -> np.ndarray:
        """Return the places of the pictures that are still to be read."""
        return np.flatnonzero(self.records["state"] == WAITING)

    def distrust(
        self, pixels: Mapping[str, np.ndarray], parts: np.ndarray, rows: np.ndarray
    ) -> int:
        """Set back pictures whose stored pixels are not those noted; return how many are well.

        ``parts`` and ``rows`` say for each picture where it is stored: ``pixels[part][row]``.
        """
        stored = np.flatnonzero(self.records["state"] == STORED)
        for i in stored:
            if zlib.crc32(pixels[parts[i]][rows[i]].tobytes()) != self.records["crc"][i]:
                self.records["state"][i] = WAITING
        return int((self.records["state"] != WAITING).sum())


def _read_faults(path: Path) -> Iterator[tuple[int, str]]:
    """The reasons so far; pictures whose line cannot be read are read again themselves.

    A killed intake may leave half a line, and the next one writes on behind it.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            i, reason = json.loads(line)
            yield int(i), str(reason)


def remove(folder: Path) -> None:
    """Remove the journal of a finished intake."""
    for name in (RECORDS, FAULTS):
        if (folder / name).exists():
            os.unlink(folder / name)
