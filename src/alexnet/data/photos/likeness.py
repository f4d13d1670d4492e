"""Finding the same picture twice: by the bytes of its file, and by what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np

MOST_BITS = 3  # of 64 that may differ: then one of the four quarters is the same in both
MOST_LEVELS = 6.0  # of 255, the mean difference of two pictures shrunk to 16 x 16
_AT_ONCE = 1 << 20


def same_bytes(digests: np.ndarray) -> list[np.ndarray]:
    """Return the groups, of two or more, of equal rows of ``digests`` (N, 2) uint64: indices."""
    _, inverse, counts = np.unique(digests, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    groups = np.split(order, np.cumsum(counts)[:-1])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (k, 2) index pairs of two uint64 arrays that differ in ``MOST_BITS`` or fewer."""
    found = [np.empty((0, 2), np.int64)]
    for shift in range(0, 64, 16):
        quarter = np.uint64(shift)
        found += _of_one_quarter(first, second, quarter)
    return np.unique(np.concatenate(found), axis=0)


def _of_one_quarter(
    first: np.ndarray, second: np.ndarray, shift: np.uint64
) -> Iterator[np.ndarray]:
    """Pairs with 16 equal bits from ``shift`` on, a bounded number at once."""
    low = np.uint64(0xFFFF)
    order = np.argsort((first >> shift) & low, kind="stable")
    keys, wanted = ((first >> shift) & low)[order], (second >> shift) & low
    start = np.searchsorted(keys, wanted, "left")
    counts = np.searchsorted(keys, wanted, "right") - start
    step = max(1, _AT_ONCE // max(1, int(counts.max(initial=1))))
    for begin in range(0, len(second), step):
        some = slice(begin, begin + step)
        many = counts[some]
        j = np.repeat(np.arange(begin, begin + len(many)), many)
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        i = order[within + np.repeat(start[some], many)]
        close = _ones(first[i] ^ second[j]) <= MOST_BITS
        yield np.stack([i[close], j[close]], axis=1)


def _ones(words: np.ndarray) -> np.ndarray:
    """The number of bits that are set (Hacker's Delight, 5-1)."""
    constants = (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
    pairs, fours, eights, times = (np.uint64(c) for c in constants)
    x = words - ((words >> np.uint64(1)) & pairs)
    x = (x & fours) + ((x >> np.uint64(2)) & fours)
    return np.asarray((((x + (x >> np.uint64(4))) & eights) * times) >> np.uint64(56))


def confirmed(
    pairs: np.ndarray, first: Callable[[int], np.ndarray], second: Callable[[int], np.ndarray]
) -> list[tuple[int, int]]:
    """Keep the pairs whose pictures, (S, S, 3) uint8 by index, are the same when shrunk."""
    return [
        (int(i), int(j)) for i, j in pairs if _same(_shrunk(first(int(i))), _shrunk(second(int(j))))
    ]


def twins(
    first: np.ndarray,
    second: np.ndarray,
    one: Callable[[int], np.ndarray],
    other: Callable[[int], np.ndarray],
) -> dict[int, int]:
    """Return for each picture of the second that the first has too one of the first that it is.

    ``first`` and ``second`` are as for ``alike``, ``one`` and ``other`` give their pictures as for
    ``confirmed``. A picture that is found is not looked for again, so that many of one kind take no longer.
    """
    small, others = _remembered(one), _remembered(other)
    (values, groups), (their_values, their_groups) = _by_value(first), _by_value(second)
    found: dict[int, int] = {}
    for a, b in alike(values, their_values).tolist():
        for i, j in product(groups[a], their_groups[b]):
            if j not in found and _same(small(i), others(j)):
                found[j] = i
    return dict(sorted(found.items()))


def _by_value(bits: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """The different values of an array, and where each stands."""
    values, counts = np.unique(bits, return_counts=True)
    places = np.split(np.argsort(bits, kind="stable"), np.cumsum(counts)[:-1])
    return values, [group.tolist() for group in places]


def _remembered(picture: Callable[[int], np.ndarray]) -> Callable[[int], np.ndarray]:
    return cache(lambda i: _shrunk(picture(i)))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).mean() <= MOST_LEVELS)


def _shrunk(picture: np.ndarray) -> np.ndarray:
    field = len(picture) // 16
    cut = picture[: 16 * field, : 16 * field].reshape(16, field, 16, field, 3)
    return np.asarray(cut.mean(axis=(1, 3)))
