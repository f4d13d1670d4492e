"""In which order pictures come, and what chance decides.

Order and augmentation are functions of (seed, epoch, step), never of history: a run that is resumed
at any step sees exactly the batches it would have seen.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def fold(seed: int, *parts: int | str) -> int:
    """Derive a 63-bit seed from a seed and what it is for, e.g. ``fold(0, "order", epoch)``."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of ``0..count-1`` that depends on seed and epoch alone."""
    return np.random.Generator(np.random.PCG64(fold(seed, "order", epoch))).permutation(count)


def shuffled(
    count: int, seed: int, epoch: int, *, shuffle: str = "every", window: int = 0
) -> NDArray[np.int64]:
    """Return the order of an epoch, of positions ``0..count-1``, by seed and epoch alone.

    ``shuffle``: ``every`` epoch; ``after-first``: the first one in the split's own order; ``never``.
    ``window``: as a buffer of tf.data of that many pictures shuffles (``windowed``); 0: all.
    """
    if shuffle == "never" or (shuffle == "after-first" and epoch == 0):
        return np.arange(count)
    return windowed(count, window, seed, epoch) if window else order(count, seed, epoch)


def windowed(count: int, window: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which a buffer of ``window`` positions gives them away.

    Each one given is drawn from the buffer, and the next in line takes its place: position ``i`` of
    the split cannot come before place ``i - window + 1`` (tf.data's ``Dataset.shuffle``).
    """
    draw = np.random.Generator(np.random.PCG64(fold(seed, "order", epoch)))
    size = min(window, count)
    buffer, given = np.arange(size), np.empty(count, np.int64)
    streaming = count - size
    for place, at in enumerate(draw.integers(0, size, streaming)):
        given[place], buffer[at] = buffer[at], size + place
    given[streaming:] = draw.permutation(buffer)
    return given


def balanced_order(labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return as many positions as there are labels, every class equally often to one picture.

    A rare class shows each of its pictures several times, a frequent one some of its own: as often
    as can be alike, which ones and in which order by seed and epoch alone.
    """
    draw = np.random.Generator(np.random.PCG64(fold(seed, "order", epoch)))
    present = draw.permutation(np.unique(labels))
    share, rest = divmod(len(labels), len(present))
    picked = []
    for rank, label in enumerate(present):
        members = np.flatnonzero(labels == label)
        times, extra = divmod(share + (rank < rest), len(members))
        picked += [np.tile(members, times), draw.permutation(members)[:extra]]
    return draw.permutation(np.concatenate(picked))
