"""Reading what other programs packed: tar archives and pickles of arrays, without trusting them.

Nothing is ever extracted to the disk and nothing is ever unpickled: wanted members are handed back
as bytes, and a pickle is read as data, opcode by opcode, by a reader that cannot call anything.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickletools
import tarfile
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.progress import counting
from alexnet.errors import DataError

MAX_MEMBERS = 64
MAX_MEMBER = 48 << 20
MAX_TOTAL = 400 << 20
CHUNK = 16 << 20

# What tarfile raises for damaged bytes: its own errors and, undocumented, those of its arithmetic.
TAR_FAULTS = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError)

Say = Callable[[str], None]


@contextmanager
def readable(source: Path) -> Iterator[None]:
    """Raise DataError, naming the file, for what of a source may not or cannot be read."""
    try:
        yield
    except OSError as error:
        name, reason = error.filename or source, error.strerror or error
        raise DataError(f"{name} cannot be read: {reason}") from error


def read_members(
    path: Path, wanted: Container[str], *, most: int = MAX_MEMBERS
) -> dict[str, bytes]:
    """Return the regular files of a ``.tar.gz`` whose names are in ``wanted``, each whole.

    ``most`` entries are looked at. Raises DataError if the file is no such archive, is cut short or damaged, holds a wanted name
    that is a link or a device, or is larger inside than a data set of this kind can be.
    """
    check_gzip(path)
    found: dict[str, bytes] = {}
    try:
        with (
            gzip.open(path) as packed,
            tarfile.open(
                fileobj=Bounded(packed, MAX_TOTAL, f"{MAX_TOTAL >> 20} MiB"), mode="r|"
            ) as archive,
        ):
            for count, member in enumerate(archive, start=1):
                if count > most:
                    raise DataError(f"{path.name}: more than {most} entries")
                if member.name in wanted:
                    found[member.name] = _member(path, archive, member)
    except TAR_FAULTS as error:
        raise DataError(f"{path.name} is cut short or damaged: {error}") from error
    return found


def _member(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or member.size > MAX_MEMBER:
        raise DataError(f"{path.name}: {member.name} is no plain file of a sensible size")
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise DataError(f"{path.name} is cut short within {member.name}")
    return data


def check_gzip(path: Path) -> None:
    """Raise DataError, saying what it is instead, if ``path`` does not start like a .tar.gz."""
    name = path.name.removesuffix(".part")
    with path.open("rb") as file:
        start = file.read(512)
    if start[:2] == b"\x1f\x8b":
        return
    if not start:
        raise DataError(f"{name} is empty")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{name} is a web page, not an archive: the server sent an error page")
    raise DataError(f"{name} is not a .tar.gz archive: it starts with {start[:8]!r}")


def check_md5(path: Path, expected: str, say: Say) -> None:
    """Read a whole archive once: what is damaged shall not be found after an hour.

    Raises DataError for another MD5 than ``expected``.
    """
    found = hashlib.md5(usedforsecurity=False)
    megabytes = path.stat().st_size >> 20
    with path.open("rb") as file, counting(path.name, megabytes, 0, say, unit="MB") as advance:
        while data := file.read(CHUNK):
            found.update(data)
            advance(len(data) >> 20)
    if found.hexdigest() != expected:
        raise DataError(
            f"{path} has the MD5 {found.hexdigest()}, expected {expected}: it is damaged, cut "
            "short or another file; download it again"
        )


class Bounded(io.RawIOBase):
    """A file that refuses to give more than ``limit`` bytes, in words ``much``: a bomb stops here.

    So does who reads on and on behind the end: tarfile skips a member as large as its header says,
    piece by piece, whether anything comes or not.
    """

    def __init__(self, file: gzip.GzipFile, limit: int, much: str) -> None:
        self._file, self._left, self._much, self._ended = file, limit, much, False

    def read(self, size: int = -1) -> bytes:
        """Read; raises DataError beyond the limit, EOFError at a second time behind the end."""
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"the archive unpacks to more than {self._much}; refused")
        if not data and self._ended:
            raise EOFError("it ends before a file that it holds does")
        self._ended = not data
        return data


class _Mark:
    """Where a list of arguments starts on the stack."""


class _Named:
    """What a pickle wanted to be called, kept as its name and never looked up."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments, self.state = name, arguments, None


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "SHORT_BINSTRING", "BINSTRING"),
    *("BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = {"BINPUT", "LONG_BINPUT"}
_GET = {"BINGET", "LONG_BINGET"}
_ARRAYS = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}  # NumPy 1 and 2
_NAMES = {*_ARRAYS, "numpy ndarray", "numpy dtype"}
_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError)
_DTYPES = {"u1": np.uint8, "f4": np.float32}


def read_pickle(data: bytes) -> dict[str, Any]:
    """Return the dictionary that a Python program pickled with protocol 2 or 3, arrays included.

    Dictionaries within dictionaries come back as such, strings of Python 2 as str (Latin-1), uint8
    and little-endian float32 arrays as ndarray; nothing else is accepted. The reader knows the
    opcodes of such a file and no way to import or call: see pickletools for what each does. Raises
    DataError for any other opcode or name.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            _step(opcode.name, argument, stack, memo)
        (result,) = stack
        if not isinstance(result, dict):
            raise DataError("not a pickle of the expected kind: no dictionary")
        return _resolved(result, {})
    except _BROKEN as error:
        raise DataError(f"not a pickle of the expected kind: {error}") from error


def _resolved(plain: dict[Any, Any], done: dict[int, dict[Any, Any]]) -> dict[Any, Any]:
    """Turn what stands for arrays into arrays; a dictionary met twice, or in itself, is one."""
    if id(plain) in done:
        return done[id(plain)]
    made = done[id(plain)] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            made[key] = _resolved(value, done)
        else:
            made[key] = _array(value) if isinstance(value, _Named) else value
    return made


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _LITERALS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _PUT:
        memo[argument] = stack[-1]
    elif name in _GET:
        stack.append(memo[argument])
    elif name == "TUPLE" or name in _TUPLES:
        stack.append(tuple(_take(stack, _TUPLES.get(name))))
    elif name == "GLOBAL":
        if argument not in _NAMES:
            raise DataError(
                f"the pickle wants to use {argument!r}, which no data set needs; refused"
            )
        stack.append(_Named(argument))
    elif name not in {"PROTO", "STOP"}:
        _assemble(name, stack)


def _assemble(name: str, stack: list[Any]) -> None:
    if name == "REDUCE":
        arguments, called = stack.pop(), stack.pop()
        stack.append(_Named(called.name, arguments))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1].state = state
    elif name == "APPENDS":
        items = _take(stack)
        stack[-1].extend(items)
    elif name == "SETITEMS":
        items = _take(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    else:
        raise DataError(f"the pickle holds the opcode {name}, which no data set needs; refused")


def _take(stack: list[Any], count: int | None = None) -> list[Any]:
    """Pop ``count`` values, or all down to the last mark and the mark itself."""
    start = len(stack) - count if count else len(stack) - 1 - stack[::-1].index(_MARK)
    taken = stack[start if count else start + 1 :]
    del stack[start:]
    return taken


def _array(named: _Named) -> np.ndarray:
    """What ``numpy.ndarray.__setstate__`` would do with (version, shape, dtype, Fortran, bytes)."""
    if named.name not in _ARRAYS or named.state is None:
        raise DataError(f"not a pickle of the expected kind: a bare {named.name}")
    _, shape, dtype, fortran_order, content = named.state
    raw = content.encode("latin-1") if isinstance(content, str) else content
    flat = np.frombuffer(raw, _dtype(dtype))
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _dtype(named: _Named) -> np.dtype[Any]:
    """The type of an array's values from ``numpy.dtype``'s arguments and its byte order."""
    kind, order = named.arguments[0], named.state[1]  # type: ignore[index]
    if kind not in _DTYPES or order not in ("|", "<"):
        raise DataError(f"the pickle holds values of type {order}{kind}, which are not expected")
    return np.dtype(_DTYPES[kind])
