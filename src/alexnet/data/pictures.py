"""Any picture a person may have, turned into one declared uint8 RGB array.

Everything that reads a photograph (folder data sets, ``predict``, the server) comes through here,
so that a picture means the same numbers everywhere.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from alexnet.data.catalogue import FITS
from alexnet.data.formats import kind_of, what_instead
from alexnet.errors import BadPicture, UnknownName, UsageError

ACCEPTED = "JPEG, PNG, WebP, GIF and BMP"
MAX_PIXELS = 40_000_000  # decoded; a JPEG read at reduced scale may hold four times as many
T = TypeVar("T")

# The readers are called by name and never through Image.open: parsers of formats that are not
# listed (EPS, PSD, TIFF, FITS ...) stay out of reach, a JPEG of several pictures is read as the
# plain JPEG it starts with, and our pixel cap, not Pillow's process-wide one, is the one that holds.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
}

# EXIF tag 0x0112 (Orientation), values 2..8: what brings the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _PillowHush:
    """Ignore Pillow's warnings as long as any thread is inside.

    Pillow warns about damaged metadata, which says nothing that a user of the pixels can act on.
    ``warnings.catch_warnings`` alone would restore the wrong filters when threads overlap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_HUSH = _PillowHush()


def read_picture(
    source: str | os.PathLike[str] | bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read one picture as a fresh ``(H, W, 3)`` uint8 RGB array, upright.

    ``source`` is a path, the bytes of a file, or a uint8 array of shape ``(H, W)``, ``(H, W, 1)``,
    ``(H, W, 3)`` or ``(H, W, 4)`` (grey, grey, RGB, RGBA). Files are JPEG, PNG, WebP, GIF or BMP,
    told apart by their content, never by their name.

    Conversions, the same everywhere: the EXIF orientation is applied (a damaged EXIF block counts
    as none); grey and palette become RGB; transparency is laid over white; 16-bit grey ``v``
    becomes ``round(v / 257)``, and 16-bit colour keeps its high byte; CMYK is converted by
    Pillow's plain formula; colour profiles are not applied; an animation gives its first frame.

    Raises ``BadPicture``, and nothing else, for anything that cannot be read so, and for more than
    ``max_pixels`` pixels, which is checked before a pixel is decoded.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), f"the picture of {len(source):,} bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        return _from_file(os.fsdecode(source), max_pixels)
    raise BadPicture(
        f"a picture cannot come from {type(source).__name__!r}; "
        "expected a path, the bytes of a file, or a uint8 array"
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


def square_of(image: Image.Image, size: int, fit: str = "crop") -> Image.Image:
    """Return what ``fit_square`` does with an RGB picture, as a picture."""
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
    return _centre(image.resize((width, height), Image.Resampling.BILINEAR), size, size)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _from_file(path: str, max_pixels: int) -> np.ndarray:
    name, wanted = _printable(path), f"expected a picture file ({ACCEPTED})"
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


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    depth = array.shape[2] if array.ndim == 3 else 1
    fits = array.ndim in (2, 3) and depth in (1, 3, 4) and array.size > 0
    if array.dtype != np.uint8 or not fits:
        raise _bad_array(array)
    height, width = array.shape[:2]
    _check_pixels(f"the array of shape {array.shape}", width, height, max_pixels)
    if depth == 4:
        return np.array(_over_white(Image.fromarray(np.ascontiguousarray(array))))
    grey_or_rgb = array.reshape(height, width, depth)
    return np.array(np.broadcast_to(grey_or_rgb, (height, width, 3)), order="C")


def _bad_array(array: np.ndarray) -> BadPicture:
    return BadPicture(
        f"an array of {array.dtype} with shape {array.shape} is not a picture; expected uint8, "
        "0 to 255, with shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), colours last"
    )


def _decode(stream: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    return decode(stream, name, lambda image, *_: np.array(upright(image)), max_pixels=max_pixels)


def decode(
    stream: BinaryIO,
    name: str,
    use: Callable[[Image.Image, str, tuple[int, int]], T],
    *,
    max_pixels: int = MAX_PIXELS,
    least_side: int = 0,
) -> T:
    """Decode one picture and return ``use(image, kind, stored size)`` while it is open.

    ``stored size`` is (width, height) in pixels as the file has them. With ``least_side``, a JPEG
    is decoded at 1/2, 1/4 or 1/8 of that as long as both sides keep ``least_side`` pixels.
    Raises ``BadPicture``, beginning with ``name``, and nothing else.
    """
    head = stream.read(64)
    kind = kind_of(head)
    if kind is None:
        raise BadPicture(f"{name}: {what_instead(head)}; accepted are {ACCEPTED} pictures")
    stream.seek(0)
    try:
        with _HUSH, _READERS[kind](stream) as image:
            stored = image.size
            if least_side and kind == "JPEG":
                _check_pixels(name, *stored, 4 * max_pixels)
                image.draft(None, (least_side, least_side))
            _check_pixels(name, *image.size, max_pixels)
            image.load()
            return use(image, kind, stored)
    except BadPicture:
        raise
    except Image.DecompressionBombError as error:
        raise BadPicture(f"{name}: too large: {error}; accepted are {max_pixels:,}") from error
    # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, MemoryError and more
    # on damaged bytes, and none of them is documented: the list would never be complete.
    except Exception as error:
        raise BadPicture(
            f"{name}: a {kind} picture that is damaged or cut short ({_reason(error)}); "
            f"accepted are whole {ACCEPTED} pictures"
        ) from error


def _check_pixels(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadPicture(
            f"{name}: {width:,} x {height:,} = {width * height:,} pixels, more than the "
            f"{max_pixels:,} accepted; make it smaller first"
        )


def upright(image: Image.Image) -> Image.Image:
    """Convert a loaded picture to RGB as ``read_picture`` says, turned as its EXIF asks."""
    turn, rgb = turned(image), _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def turned(image: Image.Image) -> Image.Transpose | None:
    """Return what brings a picture upright; None where it is already, or its EXIF is damaged."""
    try:
        return _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # whatever a damaged EXIF block sets off, the pixels are whole
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    # Pillow's own conversion clips at 255 instead of scaling: nearly everything turns white.
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent: Any = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return grey


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _reason(error: Exception) -> str:
    return _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
