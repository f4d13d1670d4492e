"""The files of a data set where they lie: below a folder, or inside a tar that is never extracted."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alexnet.data.archives import TAR_FAULTS, Bounded, check_gzip, readable
from alexnet.errors import DataError

ARCHIVES = (".tar", ".tar.gz", ".tgz")
LISTS = (".csv", ".json")
MAX_ENTRIES = 2_000_000
MAX_RATIO = 100  # bytes unpacked for each packed one, of an archive that unpacks to more than
SMALL = 64 << 20  # this, as any may
MAX_LIST = 256 << 20
_RUBBISH = ("__MACOSX",)


@dataclass(frozen=True, slots=True)
class Member:
    """Where one file's bytes are: ``size`` of them from ``offset`` of the file at ``path``."""

    path: str
    offset: int
    size: int
    modified: int = 0  # nanoseconds; 0 inside an archive, whose own time tells


@dataclass(frozen=True, eq=False)
class Tree:
    """Files and folders by their names from the top, ``/`` between; hidden ones only counted.

    ``texts`` holds the contents of the lists (.csv, .json) near the top. ``packed``: the archive
    is compressed, so its members can only be read front to back.
    """

    root: Path
    files: Mapping[str, Member]
    folders: frozenset[str]
    texts: Mapping[str, bytes]
    hidden: tuple[str, ...]
    packed: bool = False


def is_archive(path: Path) -> bool:
    """Tell whether a name is that of a tar that ``read_tar`` reads."""
    return path.name.lower().endswith(ARCHIVES)


def read_folder(root: Path) -> Tree:
    """List everything below a folder. Raises DataError for what of it cannot be read."""
    files: dict[str, Member] = {}
    folders: list[str] = []
    hidden: list[str] = []
    with readable(root):
        for name, entry in _walk(root, ""):
            if _is_hidden(entry.name):
                hidden.append(name)
            elif entry.is_dir():
                folders.append(name)
            elif entry.is_file():
                facts = entry.stat()
                files[name] = Member(entry.path, 0, facts.st_size, facts.st_mtime_ns)
        texts = {name: _list_of(files[name]) for name in files if _may_be_list(name)}
    return Tree(root, files, frozenset(folders), texts, tuple(sorted(hidden)))


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield prefix + entry.name, entry
        # A link to a folder is followed at the top only: further down it might lead in a circle.
        if entry.is_dir(follow_symlinks=not prefix) and not _is_hidden(entry.name):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _RUBBISH


def _may_be_list(name: str) -> bool:
    return name.lower().endswith(LISTS) and name.count("/") <= 1


def _list_of(member: Member) -> bytes:
    if member.size > MAX_LIST:
        return b""
    return Path(member.path).read_bytes()


def read_tar(path: Path) -> Tree:
    """List a ``.tar``, ``.tar.gz`` or ``.tgz`` without extracting anything.

    Raises DataError for one that is damaged, cut short or far larger inside than outside, and for
    members that no data set needs: links, devices, absolute names, ``..``.
    """
    packed = not path.name.lower().endswith(".tar")
    try:
        with open(path, "rb") as file:
            if packed:
                check_gzip(path)
                limit = max(SMALL, MAX_RATIO * path.stat().st_size)
                much = f"{MAX_RATIO} times its size"
                bounded = Bounded(gzip.GzipFile(fileobj=file), limit, much)
                with tarfile.open(fileobj=bounded, mode="r|") as archive:
                    return _read_members(path, archive, packed=True)
            whole = _Slice(file, Member(str(path), 0, path.stat().st_size))
            with tarfile.open(fileobj=whole, mode="r:") as archive:
                return _read_members(path, archive, packed=False)
    except TAR_FAULTS as error:
        raise DataError(f"{path.name} is cut short, damaged or no tar: {error}") from error


def members_within(path: Path, outer: Member) -> Mapping[str, Member]:
    """List a tar that lies, uncompressed, inside another file. Raises DataError as ``read_tar``."""
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=_Slice(file, outer), mode="r:") as tar:
            found = _read_members(path, tar, packed=False).files
    except TAR_FAULTS as error:
        raise DataError(f"{path.name}: a tar inside it is damaged: {error}") from error
    return {
        name: Member(str(path), outer.offset + inner.offset, inner.size)
        for name, inner in found.items()
    }


def _read_members(path: Path, archive: tarfile.TarFile, *, packed: bool) -> Tree:
    files: dict[str, Member] = {}
    folders: set[str] = set()
    texts: dict[str, bytes] = {}
    hidden: set[str] = set()
    for count, info in enumerate(archive, start=1):
        if count > MAX_ENTRIES:
            raise DataError(f"{path.name}: more than {MAX_ENTRIES:,} entries")
        archive.members = []  # type: ignore[attr-defined]  # it keeps every header it has seen
        name = _safe_name(path, info)
        if (stop := _hidden_part(name)) is not None:
            hidden.add(stop)
        elif info.isdir():
            folders.add(name)
        else:
            files[name] = Member(str(path), info.offset_data, info.size)
            if _may_be_list(name) and info.size <= MAX_LIST:
                member = archive.extractfile(info)
                texts[name] = member.read() if member else b""
    folders = {f for f in (*folders, *_parents(files)) if f}
    return Tree(path, files, frozenset(folders), texts, tuple(sorted(hidden)), packed)


def _safe_name(path: Path, info: tarfile.TarInfo) -> str:
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise DataError(
            f"{path.name}: {info.name!r} is a link, a device or a sparse file; a data set holds "
            "plain files and folders only, so the archive is refused"
        )
    if info.size < 0:  # tarfile would go back to what it has read, again and again
        raise DataError(f"{path.name}: {info.name!r} is of {info.size:,} bytes; it is damaged")
    name = info.name.removeprefix("./").rstrip("/")
    bad = "\\" in name or "\0" in name or name[1:2] == ":" or name.startswith("/")
    if bad or ".." in name.split("/"):
        raise DataError(f"{path.name}: {info.name!r} leads outside; the archive is refused")
    return "" if name == "." else name


def _hidden_part(name: str) -> str | None:
    """The name down to the first hidden folder or file in it."""
    parts = name.split("/")
    first = next((i for i, part in enumerate(parts) if _is_hidden(part)), None)
    return None if first is None else "/".join(parts[: first + 1])


def _parents(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while (name := name.rpartition("/")[0]) and name not in found:
            found.add(name)
    return found


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own; however much is asked for, only what is there counts.

    Python's own makes room for all that is asked for before it reads: a header may declare 2**40.
    """

    def __init__(self, file: BinaryIO, part: Member) -> None:
        self._file, self._part, self._at = file, part, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._part.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._part.size - self._at)
        self._file.seek(self._part.offset + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data
