"""Several decoding processes at once, each fed by a thread: ``alexnet.data.photos.worker``.

Processes of our own rather than ``multiprocessing``: they start the same way on every system, need
no guard in the script that calls us, and one that dies names the pictures that it died of.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from alexnet.data.photos.records import NOTE, of_notes
from alexnet.errors import DataError

# glibc keeps the memory of one picture for the next: page faults were a tenth of the time.
_KEEP_PAGES = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(256 << 20))


@dataclass(frozen=True)
class Task:
    """Some pictures to decode; ``here`` holds their files' bytes where no worker can get at them."""

    at: tuple[int, ...]  # places in the listing
    pictures: Sequence[tuple[str, int, int, str, int]]  # path, offset, bytes, part, row
    here: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """What became of a task's pictures."""

    at: tuple[int, ...]
    records: np.ndarray  # (n,) RECORD
    faults: Mapping[int, str]  # place in the task -> reason


def run(tasks: Iterable[Task], settings: Mapping[str, Any], workers: int) -> Iterator[Answer]:
    """Yield the answers as they come; at most two tasks a worker are waiting at any time.

    Raises DataError if a worker dies or its disk is full.
    """
    free: SimpleQueue[_Worker] = SimpleQueue()
    started = [_Worker(settings) for _ in range(workers)]
    for worker in started:
        free.put(worker)

    def work(task: Task) -> Answer:
        worker = free.get()
        try:
            return worker.answer(task)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(workers)
    try:
        yield from _in_any_order(tasks, lambda task: threads.submit(work, task), 2 * workers)
    finally:
        for worker in started:
            worker.kill()
        threads.shutdown(cancel_futures=True)
        for worker in started:
            worker.close()


def _in_any_order(tasks: Iterable[Task], submit: Any, most: int) -> Iterator[Answer]:
    pending: set[Future[Answer]] = set()
    for task in tasks:
        pending.add(submit(task))
        if len(pending) >= most:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from _results(done)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from _results(done)


def _results(done: Iterable[Future[Answer]]) -> Iterator[Answer]:
    """Yield what succeeded, so that it is kept, before what did not is raised."""
    for future in sorted(done, key=lambda each: each.exception() is not None):
        yield future.result()


def process() -> subprocess.Popen[bytes]:
    """Start one of the processes: it reads what ``worker`` says, and ends with its input."""
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet.data.photos.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": _path_of_ours(), **_KEEP_PAGES},
    )


class _Worker:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._process = process()
        self._settings = settings

    def answer(self, task: Task) -> Answer:
        told, notes = self._told(task)
        if "trouble" in told:
            raise DataError(f"the pictures cannot be stored: {told['trouble']}")
        if len(notes) < len(task.at) * NOTE.itemsize:
            raise self._death(task)
        return Answer(task.at, of_notes(notes), {int(k): v for k, v in told["faults"].items()})

    def _told(self, task: Task) -> tuple[dict[str, Any], bytes]:
        """The line and the notes that come back; less of them from a process that ended within."""
        send, receive = self._process.stdin, self._process.stdout
        assert send
        assert receive
        try:
            if self._settings:
                send.write(json.dumps(self._settings).encode() + b"\n")
                self._settings = {}
            order = {"pictures": task.pictures, "here": task.here is not None}
            send.write(json.dumps(order).encode() + b"\n" + (task.here or b""))
            send.flush()
            line = receive.readline()
            told = json.loads(line) if line.endswith(b"\n") else {}
            return told, receive.read(len(task.at) * NOTE.itemsize)
        except OSError:
            return {}, b""

    def _death(self, task: Task) -> DataError:
        status = self._process.wait()
        first, last = task.pictures[0], task.pictures[-1]
        return DataError(
            f"a process that decodes pictures ended by itself (status {status}) at one of "
            f"{len(task.at)}, from {first[0]} (byte {first[1]:,}) to {last[0]} (byte "
            f"{last[1]:,}); what was read is kept: the same command goes on"
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was still to be sent, to who is gone
                assert stream
                stream.close()


def _path_of_ours() -> str:
    """So that a worker finds this very package, however the program found it."""
    own = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
