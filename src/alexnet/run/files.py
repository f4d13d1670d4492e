"""Files that are whole or not there, whenever the power goes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alexnet.errors import CheckpointError, DataError
from alexnet.renaming import replace, sync_folder


def write_text(path: Path, text: str) -> None:
    """Replace a small text file in one step: readers see the old text or the new, never a part."""
    write_bytes(path, text.replace("\n", os.linesep).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a small file in one step: readers see the old bytes or the new, never a part."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write what somebody asked for as ``write_text`` and ``write_bytes`` do, and return its path.

    Its folder is made. Raises ``DataError`` where it cannot be written.
    """
    path = path.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            write_text(path, content)
        else:
            write_bytes(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """Give the name of a file beside ``path``, with an ``ending``; once written it takes its place.

    Where the block raises, what stood there before still does, and nothing half-written stays. What
    a kill leaves is called ``.NAME.PID.tmp``: by that a run's folder is swept.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp{ending}")
    try:
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        if beside.stat().st_mode != mode:  # safetensors gives its files to nobody else
            beside.chmod(mode)
        sync_file(beside)
        replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object. Raises ``CheckpointError`` naming a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    return found


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
