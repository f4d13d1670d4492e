"""What the intake keeps of each picture: fixed-size records that outlive a killed process."""

from __future__ import annotations

import numpy as np

_COMMON = [
    ("state", "u1"),
    ("turned", "u1"),  # upright by its EXIF
    ("reduced", "u1"),  # a JPEG decoded at reduced scale
    ("kind", "S13"),  # "JPEG RGB"
    ("width", "<u4"),
    ("height", "<u4"),
    ("bytes", "<u4"),
    ("crc", "<u4"),  # CRC-32 of the stored pixels
    ("likeness", "<u8"),
    ("digest", "<u8", 2),  # half of the SHA-256 of the file
]
RECORD = np.dtype([*_COMMON, ("sums", "<u8", 3), ("squares", "<u8", 3)])  # of the stored R, G, B
NOTE = np.dtype([*_COMMON, ("levels", "<u4", (3, 256))])  # what ``noting`` packs

_VALUES = np.arange(256, dtype=np.uint64)
_POWERS = np.stack([_VALUES, _VALUES**2], axis=1)


def of_notes(notes: bytes) -> np.ndarray:
    """Return the records, (n,) RECORD, of n pictures' notes, one after the other."""
    found = np.frombuffer(notes, NOTE)
    records = np.zeros(len(found), RECORD)
    for field in (name for name, *_ in _COMMON):
        records[field] = found[field]
    sums = found["levels"].astype(np.uint64) @ _POWERS
    records["sums"], records["squares"] = sums[..., 0], sums[..., 1]
    return records
