"""A picture file of any kind, decoded by Pillow alone: upright, RGB, and refused with a reason.

Without NumPy, which the processes that take photographs in would load for nothing: it is more than
half of the time that they need to start.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from alexnet.data.formats import kind_of, what_instead
from alexnet.errors import BadPicture

ACCEPTED = "JPEG, PNG, WebP, GIF and BMP"
MAX_PIXELS = 40_000_000  # decoded; a JPEG read at reduced scale may hold four times as many
MAX_FILE = 512 << 20  # bytes; MAX_PIXELS of 16-bit RGBA without compression are 320 million
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


HUSH = _PillowHush()  # may be entered again by a thread that is inside: that costs nothing


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
        with HUSH, _READERS[kind](stream) as image:
            stored = image.size
            if least_side and kind == "JPEG":
                check_pixels(name, *stored, 4 * max_pixels)
                image.draft(None, (least_side, least_side))
            check_pixels(name, *image.size, max_pixels)
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


def check_bytes(name: str, count: int) -> None:
    """Raise ``BadPicture`` for a file of more than ``MAX_FILE`` bytes."""
    if count > MAX_FILE:
        raise BadPicture(
            f"{name}: {count:,} bytes, more than the {MAX_FILE:,} accepted; make it smaller first"
        )


def check_pixels(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raise ``BadPicture`` for a picture of more than ``max_pixels`` pixels."""
    if width * height > max_pixels:
        raise BadPicture(
            f"{name}: {width:,} x {height:,} = {width * height:,} pixels, more than the "
            f"{max_pixels:,} accepted; make it smaller first"
        )


def upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Convert a loaded picture to RGB as ``pictures.read_picture`` says and ``turn`` it."""
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def turned(image: Image.Image) -> Image.Transpose | None:
    """Return what brings a picture upright; None where it is already, or its EXIF is damaged."""
    try:
        return _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # whatever a damaged EXIF block sets off, the pixels are whole
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        return over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    import numpy as np

    # Pillow's own conversion clips at 255 instead of scaling: nearly everything turns white.
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent: Any = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def over_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency over white: RGB."""
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _reason(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def printable(text: str) -> str:
    """Put a replacement character where a character cannot be shown."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
