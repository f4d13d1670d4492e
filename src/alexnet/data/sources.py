"""The data sets by name or by path, and the one way to open them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from alexnet.data import arrays, cifar10, shapes
from alexnet.data.cache import Contents, Dataset, read_cache, read_key, sweep, write_cache
from alexnet.data.catalogue import ABOUT, FITS
from alexnet.data.photos import folders, imagenet, imagenette
from alexnet.data.photos.intake import Plan, key_of, take_in
from alexnet.data.photos.listing import Supply, digest, refuse_few
from alexnet.data.photos.report import refuse
from alexnet.errors import DataError, UnknownName, UsageError

Say = Callable[[str], None]
PHOTOGRAPHS = 256  # pixels a side: what the paper kept of ImageNet's pictures
SMALLEST = 16  # pixels a side, as recipes have it
OWN = "photographs"  # the folder under the root that the caches of people's own pictures are in


@dataclass(frozen=True)
class Origin:
    """How to get one data set that is small enough to be handed over whole.

    ``fetch(folder, source, size, say)`` returns the checked contents. ``folder`` is the data
    set's own under the root, ``source`` what the user named or None, ``size`` in pixels.
    """

    about: str
    size: int
    fetch: Callable[[Path, str | None, int, Say], Contents]


@dataclass(frozen=True)
class Photographs:
    """How to get a data set of photographs, which go to the cache one by one.

    ``find`` takes what ``Origin.fetch`` takes and says where the pictures are.
    """

    about: str
    size: int
    find: Callable[[Path, str | None, int, Say], Supply]


DATASETS: Mapping[str, Origin | Photographs] = {
    "cifar10": Origin(ABOUT["cifar10"], cifar10.SIZE, cifar10.fetch),
    "imagenet": Photographs(ABOUT["imagenet"], PHOTOGRAPHS, imagenet.find),
    "imagenette": Photographs(ABOUT["imagenette"], PHOTOGRAPHS, imagenette.find),
    "shapes": Origin(ABOUT["shapes"], shapes.SIZE, shapes.fetch),
}


def default_root() -> Path:
    """Return where data sets are kept: ``$ALEXNET_DATA``, else the user's cache folder/alexnet."""
    chosen = os.environ.get("ALEXNET_DATA")
    return Path(chosen).expanduser() if chosen else _own_root()


def roots(root: str | Path | None) -> tuple[Path, ...]:
    """Return where things may lie already; the last is where new ones are kept.

    ``root`` alone (None: ``default_root()``) or, where it is a folder that may only be read, as one that a
    class shares, the user's own besides.
    """
    asked = default_root() if root is None else Path(root).expanduser()
    shared = asked.is_dir() and not _may_write(asked)
    return (asked, _own_root()) if shared else (asked,)


def _may_write(folder: Path) -> bool:
    if sys.platform != "win32":
        return os.access(folder, os.W_OK)
    try:  # there os.access says yes of every folder
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _own_root() -> Path:
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
    root: str | Path | None = None,
    source: str | None = None,
    size: int | None = None,
    fit: str = "crop",
    verify: bool = False,
    strict: bool = False,
    quiet: bool = False,
    classes: int = 1,
    say: Say = to_stderr,
) -> Dataset:
    """Open a data set, fetching and decoding it first if it is not in the cache.

    ``name`` is one of DATASETS, or the path of a folder, a list or a tar of photographs
    (``data.folders``), or of a folder of kept arrays (``data.arrays``); photographs whose files
    changed are taken in again. ``root`` is where data
    sets are kept (``default_root()``; ``roots`` where it may only be read). ``source`` is a folder, an archive or the name of a source;
    it is used, and only it, even if there is a cache already. ``size`` is the side of the pictures
    in pixels, for data sets that have a choice; ``fit``, one of ``catalogue.FITS``, is how photographs
    become that square: pictures that are squares anyway are the same by each. ``verify`` compares every byte of the cache with
    its checksum. ``strict`` makes an error of unreadable pictures and of those in two parts.
    ``quiet`` shows no bar; ``classes``: of photographs, so many at least; ``say`` gets a line for each thing that takes time.

    Raises UnknownName for a name that is neither in DATASETS nor there, or another fit, UsageError for a size or
    source that the data set has not, DownloadError if no source answered, DataError if a source is
    damaged, has too few classes or the cache cannot be written.
    """
    if fit not in FITS:
        raise UnknownName("data.fit", fit, FITS)
    if name and name not in DATASETS and arrays.is_kept(Path(name).expanduser()):
        return arrays.open_kept(Path(name).expanduser(), size, verify=verify)
    origin, title = _origin(name, source)
    side = origin.size if size is None else size
    if isinstance(origin, Photographs) and side < SMALLEST:
        raise UsageError(f"photographs of {side} pixels a side: expected {SMALLEST} or more")
    homes = [each / _home(name, title) for each in roots(root)]
    how = source, side, fit, verify, strict, quiet, classes, say
    openings = [_Opening(title, origin, home, *how) for home in homes]
    home = homes[-1]
    try:
        there = (dataset for each in openings if (dataset := each.existing(lambda _: None)))
        dataset = next(there, None) or openings[-1].built()
    except OSError as error:
        raise DataError(
            f"{title} cannot be kept in {home}: {error.strerror or error}; "
            "choose a folder with room that may be written: set ALEXNET_DATA"
        ) from error
    refuse_few(dataset.classes, classes, title)
    if strict and (report := dataset.report()):
        refuse(report, strict=True)
    return dataset


def full_name(name: str) -> str:
    """Return a data set's name as any folder knows it: of a path that is there, the whole of it."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name and name not in DATASETS and os.path.exists(path) else name


def named_split(text: str) -> tuple[str, str]:
    """Return data set and split of ``cifar10/train[:10%]``; an empty split where none is named.

    Photographs are named by their path, which has slashes of its own: its end is the split if it
    is the name of one, or if only what is before it is there.
    """
    text = text.replace(os.sep, "/")  # of Windows; Linux has no other
    name, _, split = text.partition("/")
    if name in DATASETS:
        return name, split
    before, _, last = text.rpartition("/")
    is_split = last.partition("[")[0].strip() in folders.SPLITS
    there = [folders.is_place(Path(path).expanduser()) for path in (before or text, text)]
    unknown = "/" not in before and not there[1]  # a mistyped name, to be told so
    if before and (unknown or (there[0] and (is_split or not there[1]))):
        return before, last
    return text, ""


def _origin(name: str, source: str | None) -> tuple[Origin | Photographs, str]:
    """How to get ``name``, and what to call it: its name or, for somebody's own, its full path."""
    if name in DATASETS:
        return DATASETS[name], name
    path = Path(name).expanduser()
    if not name or (not _looks_like_path(name) and not os.path.exists(path)):
        raise UnknownName("data set", name, DATASETS)
    if source is not None:
        raise UsageError(f"{name} is its own source; leave out {source!r}")
    return Photographs("photographs", PHOTOGRAPHS, lambda *_: folders.supply(path)), str(
        path.resolve()
    )


def _looks_like_path(name: str) -> bool:
    return any(sep in name for sep in filter(None, (os.sep, os.altsep)))


def _home(name: str, title: str) -> Path:
    return (
        Path(name) if name in DATASETS else Path(OWN) / f"{Path(title).name}-{digest(title)[:10]}"
    )


@dataclass(frozen=True)
class _Opening:
    """One call of ``open_dataset``."""

    name: str
    origin: Origin | Photographs
    home: Path
    source: str | None
    size: int
    fit: str
    verify: bool
    strict: bool
    quiet: bool
    classes: int
    say: Say

    @property
    def folder(self) -> Path:
        cropped = self.fit == "crop" or isinstance(self.origin, Origin)
        return self.home / f"v1-{'' if cropped else self.fit + '-'}{self.size}px"

    def existing(self, say: Say) -> Dataset | None:
        """The cache, if it is there, whole, and of the bytes that were asked for."""
        if not self.folder.exists() or not self._wanted():
            return None
        try:
            return read_cache(self.folder, verify=self.verify)
        except DataError as error:
            say(f"the cache {self.folder} is damaged ({error}); building it again")
            return None

    def _wanted(self) -> bool:
        """Whether a cache that is there would do, as far as one can tell without opening it."""
        if isinstance(self.origin, Origin):
            return self.source is None
        own = self.name not in DATASETS
        if own and not os.path.exists(self.name):
            self.say(f"{self.name} is gone; what was taken in of it is used")
            return True
        if self.source is None and not own:
            return True
        return read_key(self.folder) == key_of(self._supply, self.size, self.fit)

    def built(self) -> Dataset:
        """Build the cache, or wait until another process has."""
        self.home.mkdir(parents=True, exist_ok=True)
        with locked(self.home, self.say):
            # Another process may have built it while this one waited.
            if dataset := self.existing(self.say):
                return dataset
            sweep(self.home)
            if isinstance(self.origin, Origin):
                contents = self.origin.fetch(self.home, self.source, self.size, self.say)
                return write_cache(self.folder, self.name, contents)
            how = {"strict": self.strict, "quiet": self.quiet}
            plan = Plan(self.name, self.size, self.fit, classes=self.classes, **how)
            return take_in(self.folder, self._supply, plan, self.say)

    @property
    def _supply(self) -> Supply:
        assert isinstance(self.origin, Photographs)
        return self.origin.find(self.home, self.source, self.size, self.say)


@contextmanager
def locked(home: Path, say: Say) -> Iterator[None]:
    """Let no other process prepare anything in ``home`` meanwhile; ``say`` is told of a wait."""
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
