"""Pictures that are arrays in memory, kept as a data set of one's own: a folder, named by its path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.cache import MANIFEST, Contents, Dataset, Pictures, read_cache, write_cache
from alexnet.errors import DataError, UsageError

SOURCE = "arrays that were handed over"


def keep(folder: Path, parts: Mapping[str, tuple[Any, Any]], classes: Sequence[str]) -> str:
    """Write ``parts``, each (pictures, labels), as a data set; return the folder's full path.

    Pictures are uint8 ``(N, S, S, 3)``, RGB, all parts of one side; labels integers ``(N,)`` or
    ``(N, 1)``, from 0 into ``classes``. The training part has a picture of every class. A folder
    that holds the same is left as it is.

    Raises ``UsageError`` for arrays of another kind or a folder that holds anything else,
    ``DataError`` where it cannot be written.
    """
    names = _names(classes)
    found = {name: _pictures(name, *pair, len(names)) for name, pair in parts.items()}
    _refuse_apart(found, names)
    place = folder.expanduser().resolve()
    contents = Contents(found, names, {}, SOURCE)
    if not _is_there(place, contents):
        try:
            write_cache(place, str(place), contents)
        except OSError as error:
            raise DataError(f"{place} cannot be written: {error.strerror or error}") from error
    return str(place)


def is_kept(path: Path) -> bool:
    """Say whether a folder is a data set that ``keep`` wrote: a checkpoint has a manifest too."""
    return os.path.isfile(path / MANIFEST) and any(path.glob("*-images.npy"))


def open_kept(path: Path, size: int | None, *, verify: bool) -> Dataset:
    """Open what ``keep`` wrote. Raises ``UsageError`` for another ``size``, ``DataError`` for damage."""
    try:
        found = read_cache(path, verify=verify)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}; keep its arrays again, elsewhere") from None
    side = next(iter(found.parts.values())).images.shape[1]
    if size not in (None, side):
        raise UsageError(f"the pictures of {path} are {side} pixels a side, not {size}")
    return replace(found, name=str(path.resolve()))


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(classes)
    if isinstance(classes, str) or not all(isinstance(n, str) and n.strip() for n in names):
        raise UsageError(f"classes = {classes!r}; expected names, e.g. ['cat', 'dog']")
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"classes = {list(names)}; expected two or more names, all different")
    return names


def _pictures(part: str, pictures: Any, labels: Any, classes: int) -> Pictures:
    images, numbers = np.asarray(pictures), np.asarray(labels)
    hint = {
        "f": "; scale them to 0..255 and convert: (255 * x).round().astype(np.uint8)",
        "u": "; three channels of a grey picture: np.repeat(x[..., None], 3, axis=-1)",
    }.get(images.dtype.kind, "")
    square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] == 3
    if images.dtype != np.uint8 or not square or not images.size:
        raise UsageError(
            f"the pictures of {part} are {images.dtype} of shape {images.shape}; expected uint8 "
            f"(N, S, S, 3), RGB, N > 0{hint}"
        )
    return Pictures(images, _labels(part, numbers, len(images), classes))


def _labels(part: str, labels: NDArray[Any], count: int, classes: int) -> NDArray[np.int64]:
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.dtype.kind not in "iu" or flat.shape != (count,):
        hint = "; of one-hot labels take x.argmax(1)" if labels.ndim == 2 else ""
        raise UsageError(
            f"the labels of {part} are {labels.dtype} of shape {labels.shape}; expected {count:,} "
            f"integers{hint}"
        )
    wrong = np.flatnonzero((flat < 0) | (flat >= classes))
    if len(wrong):
        raise UsageError(
            f"label {flat[wrong[0]]} of picture {wrong[0]} of {part}; with {classes} classes "
            f"expected 0 to {classes - 1}"
        )
    return flat.astype(np.int64)


def _refuse_apart(parts: Mapping[str, Pictures], names: Sequence[str]) -> None:
    """Refuse parts that do not go together: other sides, or classes that are never trained on."""
    sides = {name: part.images.shape[1] for name, part in parts.items()}
    if len(set(sides.values())) > 1:
        told = ", ".join(f"{name} {side}" for name, side in sides.items())
        raise UsageError(f"pictures of several sides: {told}; expected one for all parts")
    absent = sorted(set(range(len(names))) - set(parts["train"].labels.tolist()))
    if absent:
        raise UsageError(f"train has no picture of {names[absent[0]]!r}; leave the class out")


def _is_there(folder: Path, wanted: Contents) -> bool:
    """Say whether a folder holds ``wanted`` already. Raises ``UsageError`` where it holds more."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if is_kept(folder) and _same(read_cache(folder, verify=True), wanted):
        return True
    raise UsageError(f"{folder} holds something else already; choose another folder")


def _same(found: Dataset, wanted: Contents) -> bool:
    return (
        found.classes == wanted.classes
        and found.parts.keys() == wanted.parts.keys()
        and all(
            np.array_equal(part.images, wanted.parts[name].images)
            and np.array_equal(part.labels, wanted.parts[name].labels)
            for name, part in found.parts.items()
        )
    )
