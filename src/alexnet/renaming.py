"""A finished file or folder takes its name, in the place of another, in one step."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PAUSE, TRIES = 0.05, 40  # seconds; two of them in all


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, as ``os.replace`` does; on Windows for some two seconds.

    Windows refuses while somebody has either open: a reader, or a scanner that looks at what is new.
    Raises OSError.
    """
    for _ in range(TRIES if sys.platform == "win32" else 0):
        try:
            return os.replace(source, target)
        except PermissionError:
            time.sleep(PAUSE)
    return os.replace(source, target)


def sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk."""
    if os.name == "posix":  # Windows cannot open a folder, and its rename is already durable enough
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
