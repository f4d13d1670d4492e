"""A picture file as the caches keep it: a square of pixels, and what the file was. Without NumPy."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image

from alexnet.data.catalogue import FITS
from alexnet.data.decoding import decode, turned, upright
from alexnet.errors import UnknownName

# A JPEG decoded at reduced scale keeps this many pixels for each one that is stored: twice as many
# as are needed, so that the last resize still averages. tests/data/test_squares.py measures it.
SPARE = 2


class Look(NamedTuple):
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
        kind, turn = f"{kind} {image.mode}", turned(image)
        square = square_of(upright(image, turn), size, fit)
        square = square.copy() if square is image else square  # that one is closed in a moment
        return Look(square, kind, *stored, turn is not None, image.size != stored)

    return decode(io.BytesIO(data), name, see, least_side=SPARE * size)


def square_of(image: Image.Image, size: int, fit: str = "crop") -> Image.Image:
    """Return what ``pictures.fit_square`` does with an RGB picture, as a picture."""
    if fit not in FITS:
        raise UnknownName("data.fit", fit, FITS)
    return _stretched(image, size) if fit == "stretch" else _cropped(image, size)


def _stretched(image: Image.Image, size: int) -> Image.Image:
    if image.height > 8 * image.width and image.height > size:
        # Pillow goes across first: 10,000,000 x 1 would become gigabytes.
        image = image.resize((image.width, size), Image.Resampling.BILINEAR)
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, size: int) -> Image.Image:
    short = min(image.size)
    # The ends of a strip are cut off before it is scaled: 1 x 10,000,000 would become gigabytes.
    image = _centre(image, *(min(side, 8 * short) for side in image.size))
    width, height = (size * side // short for side in image.size)
    if width == size:
        return _centre(image.resize((width, height), Image.Resampling.BILINEAR), size, size)
    # Pillow scales a wide picture across, then down, where no column knows of another: those that
    # will be cut off need not be scaled down. The pixels are those of one resize.
    across = image.resize((width, image.height), Image.Resampling.BILINEAR)
    return _centre(across, size, image.height).resize((size, size), Image.Resampling.BILINEAR)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
