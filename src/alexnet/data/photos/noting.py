"""What is noted of a picture while it is decoded: fixed-size notes, which ``records`` reads.

Written without NumPy: see ``alexnet.data.decoding``; and to fill a row of a structured array field by field
takes ten times as long as to pack it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from operator import itemgetter

from PIL import Image

from alexnet.data.photos.states import STORED, UNREADABLE
from alexnet.data.squares import Look

_HEAD = struct.Struct("<BBB13sIIIIQ16s")  # the fields of records.NOTE
_LEVELS = struct.Struct("<768I")  # how many pixels have each level of R, of G and of B
_NO_LEVELS = bytes(_LEVELS.size)
SIZE = _HEAD.size + _LEVELS.size

_ROWS = [range(9 * row, 9 * row + 9) for row in range(8)]
_LEFT = itemgetter(*(i for row in _ROWS for i in row[:-1]))
_RIGHT = itemgetter(*(i for row in _ROWS for i in row[1:]))


def of_picture(data: bytes, seen: Look, pixels: bytes) -> bytes:
    """Return the note of a picture: the bytes of its file, what they showed, what is stored."""
    head = _HEAD.pack(
        STORED,
        seen.turned,
        seen.reduced,
        seen.kind.encode(),
        seen.width,
        seen.height,
        len(data),
        zlib.crc32(pixels),
        likeness(seen.image),
        _digest(data),
    )
    return head + _LEVELS.pack(*seen.image.histogram())


def of_bytes(data: bytes) -> bytes:
    """Return the note of a file that cannot be read."""
    return _HEAD.pack(UNREADABLE, 0, 0, b"", 0, 0, len(data), 0, 0, _digest(data)) + _NO_LEVELS


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def likeness(image: Image.Image) -> int:
    """Return 64 bits that copies of a picture share whatever their size and compression.

    The "difference hash": is each of 8 x 8 fields brighter than its right neighbour? Copies differ
    in a few bits at most; unlike pictures in about half of them.
    """
    # Every field is the mean of 8 x 8 samples: all pixels would take four times as long.
    sampled = image.resize((72, 64), Image.Resampling.NEAREST).convert("L")
    small = sampled.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = 0
    for left, right in zip(_LEFT(small), _RIGHT(small), strict=True):
        bits = bits << 1 | (left > right)
    return bits
