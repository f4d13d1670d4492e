"""What is noted of a picture while it is decoded: see ``records`` for the fields."""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

from alexnet.data.photos.records import STORED, of_bytes
from alexnet.data.squares import Look


def of_picture(data: bytes, seen: Look, pixels: bytes) -> np.void:
    """Return the record of a picture: the bytes of its file, what they showed, what is stored."""
    record = of_bytes(data, STORED)
    record["turned"], record["reduced"] = seen.turned, seen.reduced
    record["kind"] = seen.kind.encode()
    record["width"], record["height"] = seen.width, seen.height
    record["crc"] = zlib.crc32(pixels)
    record["likeness"] = likeness(seen.image)
    counts = np.array(seen.image.histogram(), np.uint64).reshape(3, 256)
    record["sums"], record["squares"] = counts @ _VALUES, counts @ _SQUARES
    return record


_VALUES = np.arange(256, dtype=np.uint64)
_SQUARES = _VALUES**2


def likeness(image: Image.Image) -> int:
    """Return 64 bits that copies of a picture share whatever their size and compression.

    The "difference hash": is each of 8 x 8 fields brighter than its right neighbour? Copies differ
    in a few bits at most; unlike pictures in about half of them.
    """
    # Every field is the mean of 8 x 8 samples: all pixels would take four times as long.
    sampled = image.resize((72, 64), Image.Resampling.NEAREST).convert("L")
    small = np.asarray(sampled.resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(small[:, :-1] > small[:, 1:])
    return int.from_bytes(bits.tobytes(), "big")
