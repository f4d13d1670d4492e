"""What the pictures of a split are like: mean levels, mean picture, covariance of the colours.

Sums are of whole numbers and exact, so that neither the order nor the size of a batch changes a
bit. Pictures are read once, in the order in which they lie, a few at a time: a split larger than
memory streams from the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from alexnet.data.stream import read_rows, tell_of, told
from alexnet.errors import DataError

PIXELS = 1 << 22  # of a batch; its products sum to less than 2**53, the last exact float64


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means and spread of a split's pictures, in levels 0..255."""

    count: int  # pictures
    mean_picture: NDArray[np.float32]  # (H, W, 3)
    mean: NDArray[np.float64]  # (3,), over all pixels
    covariance: NDArray[np.float64]  # (3, 3), of the channels over all pixels

    def principal(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return variances ``(3,)``, largest first, and unit vectors as columns ``(3, 3)``.

        The largest component of each vector is positive: a decomposition leaves the sign open.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        largest = np.abs(vectors).argmax(0)
        vectors = vectors * np.sign(vectors[largest, np.arange(3)])
        return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def measure(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> Statistics:
    """Measure the pictures ``images[chosen]``; images: uint8 ``(N, H, W, 3)``, maybe mapped.

    Raises ``DataError`` where none is chosen.
    """
    if not len(chosen):
        raise DataError("there are no pictures to take a mean of")
    shape = images.shape[1:]
    sums = np.zeros(shape, np.int64)
    products = np.zeros((3, 3), np.int64)
    for batch in _batches(images, np.sort(chosen)):
        sums += batch.sum(0, dtype=np.uint32)
        pixels = batch.reshape(-1, 3).astype(np.float64)
        products += (pixels.T @ pixels).astype(np.int64)
    pixels_in_all = len(chosen) * shape[0] * shape[1]
    mean = sums.sum((0, 1)) / pixels_in_all
    return Statistics(
        count=len(chosen),
        mean_picture=(sums / len(chosen)).astype(np.float32),
        mean=mean,
        covariance=products / pixels_in_all - np.outer(mean, mean),
    )


def _batches(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    height, width = images.shape[1:3]
    size = max(1, PIXELS // (height * width))
    parts = (chosen[start : start + size] for start in range(0, len(chosen), size))
    for part in told(parts, partial(tell_of, images)):
        yield read_rows(images, part)
