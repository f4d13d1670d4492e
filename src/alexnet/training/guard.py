"""Being stopped politely, and being alone in a folder."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from alexnet.errors import Interrupted, UsageError
from alexnet.run.folders import LOCK
from alexnet.run.log import Console, resume_command


@contextlib.contextmanager
def signals(console: Console) -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM in the list given, instead of dying; a second one acts at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        console.say("finishing this step, then saving (once more to stop at once)")

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Heard(Exception):
    """Says, between two batches of a scoring, that a signal came. Caught in ``fit``."""


def heed(asked: list[int]) -> Callable[[], None]:
    """Return what raises ``Heard`` once a signal was noted: a scoring may take minutes, and can be redone."""

    def check() -> None:
        if asked:
            raise Heard

    return check


def interrupted(number: int, folder: Path, step: int) -> Interrupted:
    """Return the error that ends a run after a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return Interrupted(
        f"{signal.Signals(number).name}: saved at step {step}. Go on with\n"
        f"  {resume_command(folder)}",
        exit_code=128 + number,
    )


def too_late(number: int, folder: Path) -> Interrupted:
    """Return the error for a signal that a run heard at its very end: what comes after it stops."""
    return Interrupted(
        f"{signal.Signals(number).name}: the run was at its end and is finished; its result is in {folder}.",
        exit_code=128 + number,
    )


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Let one process at a time train in a folder. Raises ``UsageError`` for the second."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is training in {folder}; choose another --out") from None
    try:
        yield
    finally:
        lock.release()
