"""The decoded data set on disk: one memory-mapped uint8 array per part, and a manifest.

A cache folder is built under a temporary name, every file flushed to the disk, the manifest
written last, and then renamed: a folder of the final name is complete or damaged from outside.
Opening checks format, shapes and sizes (a few ms); ``verify`` also compares every SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import DataError
from alexnet.renaming import replace, sync_folder

FORMAT = 1
MANIFEST = "manifest.json"
REPORT = "intake.json"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, eq=False)
class Pictures:
    """One part of a data set; both arrays are read-only memory maps.

    ``images``: (N, H, W, 3) uint8, RGB, 0..255. ``labels``: (N,) int64.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Contents:
    """What a source hands over to be kept: the pictures and what they are called.

    ``aliases`` maps other names of a class to its name in ``classes``; ``source`` is a sentence
    that says where the bytes came from and how they were checked.
    """

    parts: Mapping[str, Pictures]
    classes: tuple[str, ...]
    aliases: Mapping[str, str]
    source: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as every other room sees it.

    ``fingerprint`` is the SHA-256 over the checksums of its arrays and its class names, so it
    names the contents whatever source they came from. A run saves it. ``folder`` is its cache.
    ``names`` and ``report`` raise DataError where what an intake noted there is damaged.
    """

    name: str
    parts: Mapping[str, Pictures]
    classes: tuple[str, ...]
    aliases: Mapping[str, str]
    source: str
    fingerprint: str
    folder: Path | None = None

    def names(self, part: str) -> tuple[str, ...] | None:
        """Return the file names of a part's pictures, in order; None where they had none."""
        found = self._extra(f"{part}-names.json")
        return None if found is None else tuple(found)

    def report(self) -> dict[str, Any] | None:
        """Return what the intake of its photographs found; None for a data set of another kind."""
        found = self._extra(REPORT)
        return found if isinstance(found, dict) else None

    def _extra(self, name: str) -> Any:
        if self.folder is None or not (path := self.folder / name).is_file():
            return None
        with _understood(str(path)):
            data, facts = path.read_bytes(), _read_manifest(self.folder)["extras"][name]
            if hashlib.sha256(data).hexdigest() != facts["sha256"]:
                wrong = "its SHA-256 is not the recorded one"
                raise DataError(f"{path}: {wrong}; build it again: alexnet data NAME --verify")
            return json.loads(data)


def read_cache(folder: Path, *, verify: bool = False) -> Dataset:
    """Open the cache in ``folder``; with ``verify``, compare every byte with its SHA-256.

    Raises DataError, naming the file at fault, if anything is not as the manifest says.
    """
    manifest = _read_manifest(folder)
    with _understood(MANIFEST):
        for name, facts in {**manifest["files"], **manifest.get("extras", {})}.items():
            _check_file(folder / name, facts, verify)
        parts = {part: _open_part(folder, part, manifest["files"]) for part in manifest["parts"]}
        if manifest["fingerprint"] != _fingerprint(manifest):
            raise DataError(f"{MANIFEST}: the fingerprint does not match the checksums")
        return Dataset(
            name=manifest["name"],
            parts=parts,
            classes=tuple(manifest["classes"]),
            aliases=manifest["aliases"],
            source=manifest["source"],
            fingerprint=manifest["fingerprint"],
            folder=folder,
        )


def read_key(folder: Path) -> str:
    """Return the key of the bytes that a cache was made from; empty where it has none."""
    try:
        return str(_read_manifest(folder).get("key", ""))
    except DataError:
        return ""


def write_cache(folder: Path, name: str, contents: Contents) -> Dataset:
    """Write ``contents`` as the cache in ``folder``, replacing what is there, and open it verified.

    The caller holds the lock of the data set. Raises DataError if the bytes read back differ from
    those written, OSError if the disk is full or may not be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent) as work:
        files: dict[str, Any] = {}
        for part, pictures in contents.parts.items():
            files[f"{part}-images.npy"] = _save(work / f"{part}-images.npy", pictures.images)
            files[f"{part}-labels.npy"] = _save(work / f"{part}-labels.npy", pictures.labels)
        _write_manifest(work, name, contents, files)
        read_cache(work, verify=True)
        publish(work, folder)
    return read_cache(folder)


def publish(work: Path, folder: Path) -> None:
    """Give a finished cache its final name, in the place of an earlier one."""
    with scratch(folder.parent) as aside:
        if folder.exists():  # moved whole or, where a file of it is in use, not at all
            replace(folder, aside / folder.name)
        replace(work, folder)
    sync_folder(folder.parent)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A temporary folder beside the final one, so that renaming needs no copy; removed after."""
    # Not mkdtemp, whose folder only its owner may read: a cache may be shared.
    work = parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the temporary folders of processes that were killed. The caller holds the lock."""
    for stale in parent.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(stale, ignore_errors=True)


def _read_manifest(folder: Path) -> dict[str, Any]:
    with _understood(MANIFEST):
        manifest = json.loads((folder / MANIFEST).read_bytes())
        found = manifest["format"]
        if found != FORMAT:
            raise DataError(f"{MANIFEST}: format {found!r}, this version reads {FORMAT}")
        wanted = {f"{part}-{kind}.npy" for part in manifest["parts"] for kind in _DTYPES}
        if wanted != set(manifest["files"]) or not all(map(str.isidentifier, manifest["parts"])):
            raise DataError(f"{MANIFEST}: it does not list the files of {manifest['parts']!r}")
        assert isinstance(manifest, dict)
        return manifest


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """Make a DataError that names the file of whatever its contents may set off."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(f"{name}: is damaged ({type(error).__name__}: {error})") from error


_DTYPES = {"images": "uint8", "labels": "int64"}


def _check_file(path: Path, facts: Mapping[str, Any], verify: bool) -> None:
    expected, sha256 = facts["bytes"], facts["sha256"]
    with _understood(path.name):
        size = path.stat().st_size
        if size != expected:
            raise DataError(f"{path.name}: {size:,} bytes, expected {expected:,}")
        if verify and _sha256_of_file(path) != sha256:
            raise DataError(f"{path.name}: its SHA-256 is not the recorded one")


def _open_part(folder: Path, part: str, files: Mapping[str, Any]) -> Pictures:
    arrays = {}
    for kind, dtype in _DTYPES.items():
        name = f"{part}-{kind}.npy"
        with _understood(name):
            array = np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
        if array.dtype != dtype or list(array.shape) != files[name]["shape"]:
            raise DataError(f"{name}: {array.dtype} {array.shape} is not what the manifest says")
        arrays[kind] = array
    _check_pair(part, **arrays)
    return Pictures(**arrays)


def _check_pair(part: str, images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{part}: images {images.shape} and labels {labels.shape} do not go together"
        )


def _save(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write one array, flushed to the disk; return its facts, the SHA-256 taken from memory."""
    array = np.ascontiguousarray(array)
    pieces = (array_header(array.shape, str(array.dtype)), array.data.cast("B"))
    return {"shape": list(array.shape), "dtype": str(array.dtype), **write_flushed(path, *pieces)}


def array_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return what a .npy file starts with; as long for any number of pictures."""
    header = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(np.empty((0, *shape[1:]), dtype))
    np.lib.format.write_array_header_1_0(header, {**described, "shape": shape})
    return header.getvalue()


def write_flushed(path: Path, *pieces: bytes | memoryview) -> dict[str, Any]:
    """Write a file, flushed to the disk; return its size and its SHA-256, taken from memory."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        _flush(file)
    return {"bytes": sum(map(len, pieces)), "sha256": digest.hexdigest()}


def _write_manifest(work: Path, name: str, contents: Contents, files: dict[str, Any]) -> None:
    write_manifest(
        work,
        name=name,
        parts=list(contents.parts),
        classes=list(contents.classes),
        aliases=dict(contents.aliases),
        source=contents.source,
        files=files,
    )


def write_manifest(work: Path, **facts: Any) -> None:
    """Write the last file of a cache: ``facts`` are the keys that ``read_cache`` asks for.

    ``extras`` are more files with their sizes and checksums, ``key`` is for ``read_key``.
    """
    manifest = {"format": FORMAT, **facts}
    manifest["fingerprint"] = _fingerprint(manifest)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    write_flushed(work / MANIFEST, text.encode())


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    checksums = {name: facts["sha256"] for name, facts in manifest["files"].items()}
    named = json.dumps([manifest["classes"], checksums], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(file: io.IOBase | Any) -> None:
    file.flush()
    os.fsync(file.fileno())
