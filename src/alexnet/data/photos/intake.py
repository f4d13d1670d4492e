"""The intake of photographs: every one looked at once, in parallel, into the cache.

Decoded pixels go straight to their place in the cache's arrays, whatever the order in which they
come; the manifest is written last and the folder renamed. A journal beside the arrays lets an
intake that was killed go on where it stopped.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet import limits
from alexnet.data.cache import (
    REPORT,
    Dataset,
    array_header,
    publish,
    read_cache,
    write_flushed,
    write_manifest,
)
from alexnet.data.photos import journal, pool, report
from alexnet.data.photos.growing import Growing
from alexnet.data.photos.journal import Journal
from alexnet.data.photos.listing import Listing, Supply, digest, refuse_few
from alexnet.data.photos.records import of_notes
from alexnet.data.photos.states import STORED
from alexnet.data.progress import counting
from alexnet.errors import DataError

RULES = 1  # counts up when the same files would give other pixels: decoding.py, squares.py
Say = Callable[[str], None]

_PER_TASK, _BYTES_PER_TASK = 16, 8 << 20
_WORK = ".intake-"


@dataclass(frozen=True)
class Plan:
    """How photographs are taken in: ``name`` of the data set, ``size`` of the stored squares.

    ``fit``: how a photograph becomes one, see ``pictures.fit_square``. ``classes``: so many at least.
    """

    name: str
    size: int
    fit: str = "crop"
    strict: bool = False
    quiet: bool = False
    classes: int = 1
    workers: int | None = None  # processes; None: one a core


def key_of(supply: Supply, size: int, fit: str = "crop") -> str:
    """Return the name of what an intake would give: the same bytes by the same rules."""
    # "crop" goes unnamed, as before there was a choice, so that caches of then are known.
    return digest(supply.key, RULES, size, *(() if fit == "crop" else (fit,)))


def take_in(folder: Path, supply: Supply, plan: Plan, say: Say) -> Dataset:
    """Look at every picture of ``supply`` and write the cache in ``folder``, replacing what is there.

    Unreadable pictures are left out and stand in the report, with ``strict`` they are an error, as
    is a picture that is in two parts. The caller holds the lock of the data set. Raises DataError,
    also for a disk that is too small, a class that nothing is left of or too few classes.
    """
    say(f"{plan.name}: listing {supply.source}")
    listing = supply.listing()
    refuse_few(listing.classes, plan.classes, plan.name)
    key = key_of(supply, plan.size, plan.fit)
    cache = Growing(_work_folder(folder, key), listing, plan.size)
    notes = cache.open(say)
    _decode(cache, notes, plan, say)
    squares = (plan.size, plan.fit)
    found = report.build(listing, notes.records, notes.faults, cache.reader(), *squares)
    report.refuse(found, strict=plan.strict)
    named = {"name": report.writable(plan.name), "source": report.writable(supply.source)}
    facts = {"key": key, **named}
    _close(cache, notes, found, facts)
    publish(cache.work, folder)
    journal.remove(folder)
    return read_cache(folder)


def _work_folder(folder: Path, key: str) -> Path:
    """Where this very intake is built; those of other bytes or rules are of no use any more."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f"{_WORK}{folder.name}-{key[:16]}"
    for stale in folder.parent.glob(f"{_WORK}{folder.name}-*"):
        if stale != work:
            shutil.rmtree(stale, ignore_errors=True)
    return work


def _decode(cache: Growing, notes: Journal, plan: Plan, say: Say) -> None:
    from alexnet.data.photos import noting  # Pillow, which a data set that is there can do without

    entries = cache.listing.entries
    waiting = notes.waiting()
    missing = [int(i) for i in waiting if entries[i].member is None]
    if missing:
        records = of_notes(noting.of_bytes(b"") * len(missing))
        reason = "is listed, but there is no such file"
        notes.note(missing, records, dict.fromkeys(range(len(missing)), reason))
    there = [int(i) for i in waiting if entries[i].member is not None]
    if not there:
        return
    files = {part: str(cache.path(part)) for part in cache.listing.parts}
    settings = {"size": cache.size, "fit": plan.fit, "start": cache.start, "files": files}
    workers = max(1, min(plan.workers or limits.cores(), len(there) // _PER_TASK))
    total, done = len(entries), len(entries) - len(there)
    tasks = tasks_of(cache.listing, there, cache.rows)
    with counting(plan.name, total, done, say, quiet=plan.quiet) as advance:
        for answer in pool.run(tasks, settings, workers):
            notes.note(answer.at, answer.records, answer.faults)
            advance(len(answer.at))


def tasks_of(listing: Listing, there: Sequence[int], rows: np.ndarray) -> Iterator[pool.Task]:
    """Cut the pictures at ``there`` into tasks, in the order in which they lie on the disk.

    Those of a compressed archive carry their bytes along: it can only be read front to back.
    """
    order = sorted(there, key=lambda i: _place(listing, i))
    if not listing.packed:
        yield from (_task(listing, some, rows, None) for some in _portions(listing, order))
        return
    with gzip.open(_member(listing, order[0]).path) as file:
        for some in _portions(listing, order):
            yield _task(listing, some, rows, b"".join(_unpacked(file, listing, some)))


def _member(listing: Listing, i: int) -> Any:
    member = listing.entries[i].member
    assert member is not None
    return member


def _place(listing: Listing, i: int) -> tuple[str, int]:
    member = _member(listing, i)
    return member.path, member.offset


def _portions(listing: Listing, order: Sequence[int]) -> Iterator[list[int]]:
    """A few pictures at a time, fewer of large ones."""
    some: list[int] = []
    weight = 0
    for i in order:
        some.append(i)
        weight += _member(listing, i).size
        if len(some) == _PER_TASK or weight >= _BYTES_PER_TASK:
            yield some
            some, weight = [], 0
    if some:
        yield some


def _unpacked(file: gzip.GzipFile, listing: Listing, some: Sequence[int]) -> Iterator[bytes]:
    for i in some:
        member = _member(listing, i)
        file.seek(member.offset)
        data = file.read(member.size)
        if len(data) != member.size:
            raise DataError(f"{member.path} changed while it was read, or is cut short")
        yield data


def _task(listing: Listing, some: Sequence[int], rows: np.ndarray, here: bytes | None) -> pool.Task:
    entries = [listing.entries[i] for i in some]
    members = [_member(listing, i) for i in some]
    pictures = [
        (m.path, m.offset, m.size, e.part, int(rows[i]))
        for i, e, m in zip(some, entries, members, strict=True)
    ]
    return pool.Task(tuple(some), pictures, here)


def _close(cache: Growing, notes: Journal, found: dict[str, Any], facts: dict[str, Any]) -> None:
    """Leave out the rows of unreadable pictures, and write labels, names, report and manifest."""
    listing, work = cache.listing, cache.work
    number = {label: i for i, label in enumerate(listing.classes)}
    files: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    for part in listing.parts:
        kept = np.flatnonzero((cache.parts == part) & (notes.records["state"] == STORED))
        entries = [listing.entries[i] for i in kept]
        files[cache.path(part).name] = cache.seal(part, kept, notes.records["crc"])
        labels = np.array([number[entry.label] for entry in entries], np.int64)
        files[f"{part}-labels.npy"] = _array(work / f"{part}-labels.npy", labels)
        names = json.dumps([entry.name for entry in entries])
        extras[f"{part}-names.json"] = write_flushed(work / f"{part}-names.json", names.encode())
    text = json.dumps(found, indent=1)
    extras[REPORT] = write_flushed(work / REPORT, text.encode())
    described = {"classes": list(listing.classes), "aliases": dict(listing.aliases)}
    write_manifest(
        work, parts=list(listing.parts), files=files, extras=extras, **described, **facts
    )


def _array(path: Path, labels: np.ndarray) -> dict[str, Any]:
    header = array_header(labels.shape, str(labels.dtype))
    described = {"shape": list(labels.shape), "dtype": str(labels.dtype)}
    return {**described, **write_flushed(path, header, labels.data.cast("B"))}
