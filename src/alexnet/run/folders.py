"""Where a new run goes: a folder that nobody else has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alexnet.errors import UsageError
from alexnet.run.log import (
    ENVIRONMENT,
    INTAKE,
    INTAKE_TEXT,
    RECIPE,
    SPLITS,
    STATISTICS,
    resume_command,
)

LOCK = ".lock"
BEFORE_RECIPE = (ENVIRONMENT, SPLITS, STATISTICS, INTAKE, INTAKE_TEXT)  # what is written before it


@contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """Make the first of ``runs/NAME``, ``runs/NAME-2``, ... that is not there, so that it is nobody else's.

    It is removed again where nothing was put into it, and ``runs`` where it was not there either.
    """
    parent = Path("runs")
    new = not parent.exists()
    tries = (parent / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    folder = next(folder for folder in tries if _made(folder))
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds a run
            folder.rmdir()
            if new:
                parent.rmdir()


def _made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def refuse_taken(folder: Path) -> None:
    """Raise ``UsageError`` for a folder that holds anything: nothing is overwritten unasked.

    What a run left that was killed, or met a full disk, before it had a recipe is nothing.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out")
    if folder.is_dir() and not all(map(_is_remains, folder.iterdir())):
        what = "a run" if (folder / RECIPE).is_file() else "files"
        hint = f", or go on with `{resume_command(folder)}`" if what == "a run" else ""
        raise UsageError(f"{folder} holds {what} already; choose another --out{hint}")


def _is_remains(path: Path) -> bool:
    """Say whether a run writes this before its recipe, or a file of it half-written."""
    if path.name == "checkpoints":
        return path.is_dir() and not any(path.iterdir())
    names = (*BEFORE_RECIPE, RECIPE)
    half = path.suffix == ".tmp" and path.name.startswith(tuple(f".{name}." for name in names))
    return path.name in (LOCK, *BEFORE_RECIPE) or half


def clear_remains(folder: Path) -> None:
    """Remove what a run left that ended before it had a recipe: it may be of another recipe, or data."""
    for path in folder.iterdir():
        if _is_remains(path) and path.name not in (LOCK, "checkpoints"):
            path.unlink()
