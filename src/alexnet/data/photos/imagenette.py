"""Imagenette, version 2 (fast.ai): ten classes of ImageNet that are easy to tell apart.

9,469 + 3,925 photographs, in the parts ``train`` and ``val`` of its archives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet.data.archives import check_md5
from alexnet.data.download import download
from alexnet.data.photos import folders
from alexnet.data.photos.listing import Listing, Supply
from alexnet.errors import DataError, DownloadError

COUNTS = {"train": 9_469, "val": 3_925}
IDS = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
PUBLISHER = "https://s3.amazonaws.com/fast-ai-imageclas/"
MAX_BYTES = 2 << 30

Say = Callable[[str], None]


@dataclass(frozen=True)
class Archive:
    """One of the publisher's archives; checksums as in torchvision's datasets/imagenette.py."""

    name: str
    md5: str
    shorter: int | None  # side in pixels; None: as ImageNet has them
    megabytes: int


ARCHIVES = {
    "160px": Archive("imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", 160, 99),
    "320px": Archive("imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3", 320, 342),
    "full": Archive("imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", None, 1557),
}


def find(folder: Path, source: str | None, size: int, say: Say) -> Supply:
    """Return where Imagenette is: ``source``, or the publisher's archive that has enough pixels.

    ``source`` is a folder or an archive of any resolution, or one of ARCHIVES. ``folder`` is the
    data set's own; an archive in it or beside it is used before one is fetched. Raises UsageError
    for another source, DownloadError, with the way by hand, where none can be had.
    """
    if source is not None and source not in ARCHIVES:
        found = folders.supply(Path(source).expanduser())
        return replace(found, listing=lambda: _check(found.listing()))
    archive = ARCHIVES[source or ("320px" if size <= 320 else "full")]
    path = _lying_about(folder, archive) or _fetched(folder, archive, say)
    found = folders.supply(path)

    def listing() -> Listing:
        check_md5(path, archive.md5, say)
        return _check(found.listing())

    return Supply(found.key, listing, f"{PUBLISHER}{archive.name}, which has the publisher's MD5")


def _lying_about(folder: Path, archive: Archive) -> Path | None:
    places = (folder / archive.name, folder.parent / archive.name)
    return next((path for path in places if path.is_file()), None)


def _fetched(folder: Path, archive: Archive, say: Say) -> Path:
    path = folder / archive.name
    say(
        f"imagenette: fetching {archive.name} ({archive.megabytes:,} MB); it is kept for other sizes"
    )
    try:
        download(PUBLISHER + archive.name, path, md5=archive.md5, say=say, most=MAX_BYTES)
    except DownloadError as error:
        raise DownloadError(_way_by_hand(folder, archive, error)) from error
    return path


def _way_by_hand(folder: Path, archive: Archive, error: DownloadError) -> str:
    return "\n".join(
        [
            f"imagenette could not be had from {PUBLISHER}: {error}",
            "By hand, from a machine that reaches it:",
            f"  1. download {PUBLISHER}{archive.name}  (md5 {archive.md5})",
            f"  2. put it into {folder}",
            "  3. run  alexnet data imagenette",
            "or, with any tar or folder of Imagenette:  alexnet data imagenette --source PATH",
        ]
    )


def _check(found: Listing) -> Listing:
    """Raise DataError unless these are the ten classes with as many pictures as published."""
    if tuple(found.aliases) != IDS:
        raise DataError(
            f"this is not Imagenette: its classes are {', '.join(found.classes)}, "
            f"expected the folders {', '.join(IDS)}"
        )
    named = found.renamed({"validation": "val"})
    counts = {part: sum(e.part == part for e in named.entries) for part in named.parts}
    if counts != COUNTS:
        raise DataError(
            f"this is not the second version of Imagenette: {counts} pictures, expected {COUNTS}"
        )
    return named
