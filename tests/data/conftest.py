"""What the tests of the data room share."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def python2_batch() -> Callable[[np.ndarray, list[int], str], bytes]:
    return _python2_batch


def _python2_batch(images: np.ndarray, labels: list[int], title: str) -> bytes:
    """What cPickle of Python 2 wrote for a published CIFAR-10 batch, opcode by opcode."""
    count, width = images.shape
    out = b"\x80\x02}q\x01("
    out += _text("batch_label") + b"q\x02" + _text(title) + b"q\x03"
    out += _text("labels") + b"q\x04]q\x05(" + b"".join(map(_int, labels)) + b"e"
    out += _text("data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08"
    out += b"K\x00\x85U\x01b\x87Rq\x09(K\x01" + _int(count) + _int(width) + b"\x86"
    out += b"cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b"
    out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    out += b"T" + struct.pack("<I", images.size) + images.tobytes() + b"tb"
    out += _text("filenames") + b"q\x0c]q\x0d("
    out += b"".join(_text(f"{i}.png") + b"r" + struct.pack("<I", 14 + i) for i in range(count))
    return out + b"eu."


def _text(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def _int(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)
