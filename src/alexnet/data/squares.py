"""A picture file as the caches keep it: a square of pixels, and what the file was."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.pictures import decode, fit_square, read_picture, square_of, turned, upright

# A JPEG decoded at reduced scale keeps this many pixels for each one that is stored: twice as many
# as are needed, so that the last resize still averages. tests/data/test_squares.py measures it.
SPARE = 2


@dataclass(frozen=True)
class Look:
    """One picture, brought to a square of ``size`` pixels, and the file that it came from."""

    image: Image.Image  # RGB, size x size
    kind: str  # format and mode as stored: "JPEG RGB", "PNG I;16"
    width: int  # pixels, as stored
    height: int
    turned: bool  # its EXIF says that it was taken sideways or mirrored
    reduced: bool  # a JPEG decoded at 1/2, 1/4 or 1/8


def look(data: bytes, name: str, size: int, fit: str = "crop") -> Look:
    """Decode the bytes of a file; ``name`` begins the message of the ``BadPicture`` it may raise.

    ``fit``: see ``pictures.fit_square``.
    """

    def see(image: Image.Image, kind: str, stored: tuple[int, int]) -> Look:
        kind = f"{kind} {image.mode}"
        square = square_of(upright(image), size, fit)
        return Look(square, kind, *stored, turned(image) is not None, image.size != stored)

    return decode(io.BytesIO(data), name, see, least_side=SPARE * size)


def read_square(
    source: str | os.PathLike[str] | bytes | np.ndarray, size: int, fit: str = "crop"
) -> np.ndarray:
    """Read a picture as a data set of photographs has it: ``(size, size, 3)`` uint8 RGB, fresh.

    ``pictures.read_picture`` and ``pictures.fit_square``, but for a JPEG of more than four times
    ``size``, which is decoded at reduced scale. Raises ``BadPicture`` and nothing else.
    """
    if isinstance(source, np.ndarray):
        return fit_square(read_picture(source), size, fit)
    name = "the picture" if isinstance(source, bytes) else os.fsdecode(source)
    if isinstance(source, bytes):
        return np.array(look(source, name, size, fit).image)
    try:
        data = Path(name).read_bytes() if Path(name).is_file() else None
    except OSError:
        data = None
    if data is None:
        return fit_square(read_picture(source), size, fit)  # which says what is wrong
    return np.array(look(data, name, size, fit).image)
