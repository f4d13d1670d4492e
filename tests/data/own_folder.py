"""A folder as somebody may have it: 200 photographs in four classes, and all that goes wrong."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import shapes

CLASSES = {
    "n01440764": "잉어",
    "n03028079": "church",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
PER_CLASS = {"train": 40, "test": 10}
UNREADABLE = {
    "train/church/cut short.jpg": "damaged or cut short",
    "train/church/nothing.jpg": "is empty (0 bytes)",
    "train/golf ball/letter.jpg": "is a text file",
}


def link(to: str | Path, at: Path) -> None:
    """Make a symbolic link; skip the test where the system refuses, as Windows does to most."""
    try:
        os.symlink(to, at)
    except OSError as error:
        pytest.skip(f"no symbolic link can be made: {error}")


def shared_tar() -> Path | None:
    """The real Imagenette, where this machine has it."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ALEXNET_SHARED_DATA", beside))
    tar = folder / "imagenette2-224.tar"
    return tar if tar.is_file() else None


def build(folder: Path) -> Path:
    """Make the folder, of real photographs where there are some, else of drawn figures."""
    pictures = _real(shared_tar()) if shared_tar() else _made()
    for part, count in PER_CLASS.items():
        for label, jpegs in pictures.items():
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                (folder / part / label / f"{number:02}.jpg").write_bytes(jpegs[part][number])
    _spoil(folder)
    return folder


def _real(tar: Path) -> dict[str, dict[str, list[bytes]]]:
    found: dict[str, dict[str, list[bytes]]] = {name: {} for name in CLASSES.values()}
    with tarfile.open(tar) as archive:
        for member in archive:
            part, _, label = member.name.partition("/")[2].partition("/")
            name = CLASSES.get(label.partition("/")[0])
            part = {"train": "train", "val": "test"}.get(part, "")
            jpegs = found[name].setdefault(part, []) if name and part else []
            if member.isreg() and len(jpegs) < PER_CLASS.get(part, 0):
                jpegs.append(archive.extractfile(member).read())  # type: ignore[union-attr]
    return found


def _made() -> dict[str, dict[str, list[bytes]]]:
    # As large as the real ones: of fewer pixels, less is left to know a squeezed copy by.
    drawn = shapes.draw(1000, size=224, seed=5)
    found: dict[str, dict[str, list[bytes]]] = {}
    for kind, name in enumerate(CLASSES.values()):
        mine = [jpeg(image) for image in drawn.images[drawn.labels == kind]]
        found[name] = {"train": mine[:40], "test": mine[40:50]}
    return found


def jpeg(image: np.ndarray | Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(out, "JPEG", **{"quality": 90, **options})  # type: ignore[arg-type]
    return out.getvalue()


def _spoil(folder: Path) -> None:
    """Put the special cases in the place of some, the duplicates beside."""
    church, golf, fish = (folder / "train" / c for c in ("church", "golf ball", "잉어"))
    whole = (church / "00.jpg").read_bytes()
    (church / "00.jpg").rename(church / "cut short.jpg")
    (church / "cut short.jpg").write_bytes(whole[: len(whole) // 2])
    (church / "01.jpg").rename(church / "nothing.jpg")
    (church / "nothing.jpg").write_bytes(b"")
    (golf / "00.jpg").rename(golf / "letter.jpg")
    (golf / "letter.jpg").write_text("Dear Sir, find the picture enclosed.")
    _change(
        church / "02.jpg",
        "16 bit.png",
        lambda p: Image.fromarray(np.asarray(p.convert("L")).astype(np.uint16) * 257),
    )
    _change(church / "03.jpg", "print.jpg", lambda p: p.convert("CMYK"))
    _change(golf / "01.jpg", "moving.gif", lambda p: p.convert("P"))
    phone = Image.open(golf / "02.jpg")
    exif = phone.getexif()
    exif[0x0112] = 6
    (golf / "phone.jpg").write_bytes(
        jpeg(phone.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())
    )
    (golf / "02.jpg").unlink()
    (fish / "00.jpg").rename(fish / "큰 잉어.jpg")
    # The same photograph in training and test: once the file itself, once smaller and squeezed.
    shutil.copy(fish / "05.jpg", folder / "test" / "잉어" / "05.jpg")
    again = Image.open(folder / "train" / "parachute" / "07.jpg").convert("RGB")
    smaller = again.resize(
        (again.width * 9 // 10, again.height * 9 // 10), Image.Resampling.LANCZOS
    )
    (folder / "test" / "parachute" / "07.jpg").write_bytes(jpeg(smaller, quality=75))
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "x.jpg").write_bytes(whole)
    (folder / "train" / "church" / "._00.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "train" / "church" / "notes.txt").write_text("taken in May")


def _change(path: Path, name: str, change: object) -> None:
    with Image.open(path) as picture:
        changed = change(picture)  # type: ignore[operator]
        changed.save(path.with_name(name))
    path.unlink()
