"""What the intake notes of each picture: fixed-size records that outlive a killed process."""

from __future__ import annotations

import hashlib

import numpy as np

WAITING, STORED, UNREADABLE = 0, 1, 2

RECORD = np.dtype(
    [
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
        ("sums", "<u8", 3),  # of the stored R, G and B
        ("squares", "<u8", 3),
    ]
)


def of_bytes(data: bytes, state: int) -> np.void:
    """Return a record that knows the file only."""
    record = np.zeros((), RECORD)
    record["state"], record["bytes"] = state, len(data)
    record["digest"] = np.frombuffer(hashlib.sha256(data).digest()[:16], "<u8")
    return record  # type: ignore[return-value]
