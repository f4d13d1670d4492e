"""The data sets by name, and the one way to open them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from alexnet.data import cifar10, shapes
from alexnet.data.cache import Contents, Dataset, read_cache, sweep, write_cache
from alexnet.errors import DataError, UnknownName

Say = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """How to get one data set.

    ``fetch(folder, source, size, say)`` returns the checked contents. ``folder`` is the data
    set's own under the root, ``source`` what the user named or None, ``size`` in pixels.
    """

    about: str
    size: int
    fetch: Callable[[Path, str | None, int, Say], Contents]


DATASETS: Mapping[str, Origin] = {
    "cifar10": Origin(cifar10.ABOUT, cifar10.SIZE, cifar10.fetch),
    "shapes": Origin(shapes.ABOUT, shapes.SIZE, shapes.fetch),
}


def default_root() -> Path:
    """Return where data sets are kept: ``$ALEXNET_DATA``, else the user's cache folder/alexnet."""
    if chosen := os.environ.get("ALEXNET_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "alexnet"


def to_stderr(line: str) -> None:
    """Say one line where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


def open_dataset(
    name: str,
    *,
    root: Path | None = None,
    source: str | None = None,
    size: int | None = None,
    verify: bool = False,
    say: Say = to_stderr,
) -> Dataset:
    """Open a data set, fetching and decoding it first if it is not in the cache.

    ``root`` is where data sets are kept (``default_root()``). ``source`` is a folder, an archive
    or the name of a source; it is used, and only it, even if there is a cache already. ``size``
    is the side of the pictures in pixels, for data sets that have a choice. ``verify`` compares
    every byte of the cache with its checksum. ``say`` gets a line for each thing that takes time.

    Raises UnknownName for a name not in DATASETS, UsageError for a size or source that the data
    set has not, DownloadError if no source answered, DataError if a source is damaged or the
    cache cannot be written.
    """
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    origin = DATASETS[name]
    side = origin.size if size is None else size
    home = (default_root() if root is None else Path(root)) / name
    folder = home / f"v1-{side}px"
    if source is None and (dataset := _existing(folder, verify, lambda _: None)):
        return dataset
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _lock(home, say):
            # Another process may have built it while this one waited.
            if source is None and (dataset := _existing(folder, verify, say)):
                return dataset
            sweep(home)
            return write_cache(folder, name, origin.fetch(home, source, side, say))
    except OSError as error:
        raise DataError(
            f"{name} cannot be kept in {home}: {error.strerror or error}; "
            "choose a folder with room that may be written: set ALEXNET_DATA"
        ) from error


def _existing(folder: Path, verify: bool, say: Say) -> Dataset | None:
    if not folder.exists():
        return None
    try:
        return read_cache(folder, verify=verify)
    except DataError as error:
        say(f"the cache {folder} is damaged ({error}); building it again")
        return None


@contextmanager
def _lock(home: Path, say: Say) -> Iterator[None]:
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is preparing {home.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
