"""ImageNet of the challenge of 2012 (ILSVRC2012): 1000 classes, 1,281,167 + 50,000 photographs.

It may not be passed on, so it is not fetched: whoever has an account with image-net.org has its
three files, or the folders that other programs unpack them to. Both are read as they lie, the
training archive as what it is, a tar of a thousand tars.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.data import archives
from alexnet.data.photos import wordnet
from alexnet.data.photos.folders import arrange
from alexnet.data.photos.listing import Entry, Listing, Supply, digest, listing_of
from alexnet.data.photos.trees import Tree, members_within, read_folder, read_tar
from alexnet.errors import DataError, DownloadError, UsageError

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
MD5 = {  # as in torchvision's datasets/imagenet.py
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
}
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
META = "ILSVRC2012_devkit_t12/data/meta.mat"

Say = Callable[[str], None]


def find(folder: Path, source: str | None, size: int, say: Say) -> Supply:
    """Return where ImageNet is: in the folder ``source`` or, without one, in ``folder``.

    The folder holds the three files of MD5 or the folders ``train/ID/`` and ``val/ID/``. Raises
    UsageError for a source that is no folder, DownloadError, with the way by hand, where neither
    is found, DataError for an archive that is not the publisher's.
    """
    place = Path(source).expanduser() if source is not None else folder
    if source is not None and not place.is_dir():
        raise UsageError(f"source {source!r} is no folder; {_EXPECTED}")
    if all((place / name).is_file() for name in MD5):
        facts = [(place / name).stat() for name in MD5]
        key = digest("ilsvrc", [(fact.st_size, fact.st_mtime_ns) for fact in facts])
        return Supply(key, lambda: _of_archives(place, say), f"ILSVRC2012's archives in {place}")
    if all((place / part).is_dir() for part in ("train", "val")):
        return _of_folders(place)
    raise DownloadError(_way_by_hand(place))


_EXPECTED = f"expected a folder with {', '.join(MD5)}, or with train/ID/ and val/ID/"


def _way_by_hand(place: Path) -> str:
    return "\n".join(
        [
            f"imagenet is not in {place}: {_EXPECTED}.",
            "Its terms do not let anybody pass it on. To get it:",
            "  1. ask for access at https://image-net.org/download (research and education)",
            f"  2. download {TRAIN} (138 GB), {VAL} (6 GB)",
            f"     and {DEVKIT} (2.5 MB) of ILSVRC2012, tasks 1 and 2",
            f"  3. put them into {place}, as they are",
            "  4. run  alexnet data imagenet",
            "or, wherever they lie:  alexnet data imagenet --source FOLDER",
            "To go on with something smaller of the same kind:  alexnet data imagenette",
            "The pretrained weights of that name need none of this:  alexnet predict imagenet PICTURE",
        ]
    )


def _of_folders(place: Path) -> Supply:
    tree = read_folder(place)
    key = digest("folders", sorted((n, m.size, m.modified) for n, m in tree.files.items()))

    def listing() -> Listing:
        return _checked(arrange(_only(tree, ("train", "val"))), place)

    return Supply(key, listing, f"the folders train and val in {place}")


def _only(tree: Tree, tops: tuple[str, ...]) -> Tree:
    """A tree without what else lies beside the folders ``tops``."""
    files = {n: m for n, m in tree.files.items() if n.partition("/")[0] in tops}
    folders = frozenset(n for n in tree.folders if n.partition("/")[0] in tops)
    return Tree(tree.root, files, folders, {}, tree.hidden)


def _checked(found: Listing, place: Path) -> Listing:
    """Raise DataError unless the classes are ILSVRC's; parts are named as its archives name them."""
    known = wordnet.names()
    if tuple(found.aliases) != tuple(known):
        raise DataError(
            f"{place} is not ILSVRC2012: {len(found.classes):,} classes, from "
            f"{found.classes[0]} to {found.classes[-1]}; expected the {len(known):,} WordNet ids"
        )
    return found.renamed({"validation": "val"})


def _of_archives(place: Path, say: Say) -> Listing:
    with archives.readable(place):
        for name, expected in MD5.items():
            archives.check_md5(place / name, expected, say)
        entries = [*_training(place / TRAIN), *_validation(place / VAL, place / DEVKIT)]
    return _checked(listing_of(entries, where=place), place)


def _training(path: Path) -> Iterator[Entry]:
    """A tar for each class, each of pictures without folders."""
    for name, outer in read_tar(path).files.items():
        label = name.removesuffix(".tar")
        for picture, member in members_within(path, outer).items():
            yield Entry(f"train/{label}/{picture}", "train", label, member)


def _validation(path: Path, devkit: Path) -> Iterator[Entry]:
    """Pictures without folders; the devkit's list has the class of each, in their order."""
    labels = validation_labels(devkit)
    pictures = sorted(read_tar(path).files.items())
    if len(pictures) != len(labels):
        raise DataError(f"{path}: {len(pictures):,} pictures, but the devkit has {len(labels):,}")
    for (name, member), label in zip(pictures, labels, strict=True):
        yield Entry(f"val/{label}/{name}", "validation", label, member)


@dataclass(frozen=True)
class _Synset:
    number: int  # of ILSVRC, from 1
    label: str
    children: int


def validation_labels(devkit: Path) -> list[str]:
    """Return the WordNet id of each validation picture, in the order of their names.

    Raises DataError for another file, or without scipy, which reads the devkit's MATLAB table.
    """
    found = archives.read_members(devkit, {TRUTH, META}, most=1000)
    if found.keys() != {TRUTH, META}:
        raise DataError(f"{devkit} does not hold {TRUTH} and {META}")
    ids = {s.number: s.label for s in _synsets(found[META]) if s.children == 0}
    numbers = re.findall(r"^\s*(\d+)\s*$", found[TRUTH].decode("ascii", "replace"), re.MULTILINE)
    try:
        return [ids[int(number)] for number in numbers]
    except KeyError as error:
        raise DataError(f"{devkit}: its list names the class {error}, its table does not") from None


def _synsets(data: bytes) -> list[_Synset]:
    """The leaves of the devkit's tree are its classes, inner nodes follow them."""
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            "the devkit of ILSVRC2012 holds a MATLAB table, which scipy reads: "
            "pip install -e '.[imagenet]'"
        ) from error
    try:
        rows: Any = loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
        return [
            _Synset(int(r["ILSVRC2012_ID"]), str(r["WNID"]), int(r["num_children"])) for r in rows
        ]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{META} is damaged: {error}") from error
