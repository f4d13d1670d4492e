"""Any picture a person may have, turned into one declared uint8 RGB array.

Everything that reads a photograph (folder data sets, ``predict``) comes through here,
so that a picture means the same numbers everywhere.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from alexnet.data.decoding import (
    ACCEPTED,
    HUSH,
    MAX_PIXELS,
    check_bytes,
    check_pixels,
    decode,
    over_white,
    printable,
    turned,
    upright,
)
from alexnet.data.formats import kind_of
from alexnet.data.squares import look, square_of
from alexnet.errors import BadPicture, UsageError

Given = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray


def read_picture(source: Given, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one picture as a fresh ``(H, W, 3)`` uint8 RGB array, upright.

    ``source`` is a path, the bytes of a file, a picture of Pillow's, or a uint8 array of shape ``(H, W)``,
    ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` (grey, grey, RGB, RGBA). Files are JPEG, PNG, WebP, GIF
    or BMP, told apart by their content, never by their name.

    Conversions, the same everywhere: the EXIF orientation is applied (a damaged EXIF block counts
    as none); grey and palette become RGB; transparency is laid over white; 16-bit grey ``v``
    becomes ``round(v / 257)``, and 16-bit colour keeps its high byte; CMYK is converted by
    Pillow's plain formula; colour profiles are not applied; an animation gives its first frame.

    Raises ``BadPicture``, and nothing else, for anything that cannot be read so, and for more than
    ``max_pixels`` pixels, which is checked before a pixel is decoded.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return _decode(io.BytesIO(data), f"the picture of {len(data):,} bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        return _from_file(os.path.expanduser(os.fsdecode(source)), max_pixels)
    if isinstance(source, Image.Image):
        return _from_pillow(source, max_pixels)
    raise BadPicture(
        f"a picture cannot come from {type(source).__name__!r}; expected a path, the bytes of a file, "
        "a picture of Pillow's or a uint8 array; of several, one at a time"
    )


def fit_square(picture: np.ndarray, size: int, fit: str = "crop") -> np.ndarray:
    """Make a picture a square: ``(size, size, 3)`` uint8, fresh.

    ``picture`` is ``(H, W, 3)`` uint8. The declared ways from a photograph to an array like those
    of the data sets (``catalogue.FITS``), by Pillow's antialiased bilinear resize. ``crop``: to
    ``size`` by ``floor(size * long / short)``, then a centre crop, with the very pixels of
    torchvision's ``Resize(size)`` and ``CenterCrop(size)`` on a Pillow picture. ``stretch``: to
    ``size`` by ``size`` at once. A picture of ``size x size`` comes back unchanged.

    Raises ``BadPicture`` for another array, ``UsageError`` for a size below 1 and ``UnknownName``
    for another ``fit``.
    """
    if size < 1:
        raise UsageError(f"picture size {size}: expected 1 or more pixels")
    if picture.ndim != 3:
        raise _bad_array(picture)
    return np.array(square_of(Image.fromarray(_from_array(picture, picture.size)), size, fit))


def read_square(source: Given, size: int, fit: str = "crop") -> np.ndarray:
    """Read a picture as a data set of photographs has it: ``(size, size, 3)`` uint8 RGB, fresh.

    ``read_picture`` and ``fit_square``, but for a JPEG of more than four times
    ``size``, which is decoded at reduced scale. Raises ``BadPicture`` and nothing else.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return np.array(look(bytes(source), "the picture", size, fit).image)
    if not isinstance(source, str | os.PathLike):
        return fit_square(read_picture(source), size, fit)
    data = _bytes_of(name := os.path.expanduser(os.fsdecode(source)))
    if data is None:
        return fit_square(read_picture(source), size, fit)  # which says what is wrong
    return np.array(look(data, name, size, fit).image)


def _bytes_of(path: str) -> bytes | None:
    """A file that begins like a picture, whole: others may be larger than the memory."""
    try:
        if not Path(path).is_file():
            return None
        with open(path, "rb") as file:
            if kind_of(file.read(64)) is None:
                return None
            check_bytes(printable(path), file.seek(0, os.SEEK_END))
            file.seek(0)
            return file.read()
    except OSError:
        return None


def _from_file(path: str, max_pixels: int) -> np.ndarray:
    name, wanted = printable(path), f"expected a picture file ({ACCEPTED})"
    try:
        if Path(path).is_dir():
            raise BadPicture(f"{name}: is a folder; {wanted}")
        # A pipe or a device could keep us waiting for ever.
        if Path(path).exists() and not Path(path).is_file():
            raise BadPicture(f"{name}: is not a regular file; {wanted}")
        with open(path, "rb") as stream:
            return _decode(stream, name, max_pixels)
    except FileNotFoundError:
        raise BadPicture(f"{name}: no such file; {wanted} on this machine") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadPicture(f"{name}: cannot be read: {reason}; {wanted}") from error


def _from_pillow(image: Image.Image, max_pixels: int) -> np.ndarray:
    name = printable(getattr(image, "filename", "") or "the picture")
    check_pixels(name, *image.size, max_pixels)
    try:
        with HUSH:
            return np.array(upright(image, turned(image)))
    except (
        Exception
    ) as error:  # opened long ago, and found to be closed or damaged now (decoding.decode)
        raise BadPicture(f"{name}: cannot be read: {error}; expected a whole picture") from error


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    depth = array.shape[2] if array.ndim == 3 else 1
    fits = array.ndim in (2, 3) and depth in (1, 3, 4) and array.size > 0
    if array.dtype != np.uint8 or not fits:
        raise _bad_array(array)
    height, width = array.shape[:2]
    check_pixels(f"the array of shape {array.shape}", width, height, max_pixels)
    if depth == 4:
        return np.array(over_white(Image.fromarray(np.ascontiguousarray(array))))
    grey_or_rgb = array.reshape(height, width, depth)
    return np.array(np.broadcast_to(grey_or_rgb, (height, width, 3)), order="C")


def _bad_array(array: np.ndarray) -> BadPicture:
    return BadPicture(
        f"an array of {array.dtype} with shape {array.shape} is not a picture; expected uint8, "
        "0 to 255, with shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), colours last"
    )


def _decode(stream: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    return decode(
        stream,
        name,
        lambda image, *_: np.array(upright(image, turned(image))),
        max_pixels=max_pixels,
    )
