"""Means over seeds and differences between rows, with 95 % intervals that say what they are of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alexnet.intervals import newcombe, wilson

LEVEL = 0.95
SEEDS, PICTURES = "t over seeds", "Wilson over the pictures of one run"
PAIRS, NEWCOMBE = "t over seeds in pairs", "Newcombe over the pictures of one run each"


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, ``n`` runs (or pairs of runs), and what the interval is of."""

    value: float
    interval: tuple[float, float]
    n: int
    how: str


def mean(shares: Mapping[int, float], pictures: int) -> Estimate:
    """Return the mean of one figure over seeds; ``shares``: seed -> fraction right of ``pictures``.

    Student's t over the seeds, cut off at 0 and 1; of one run, Wilson's interval over its pictures,
    which knows nothing of what another seed would have given.
    """
    values = list(shares.values())
    if len(values) == 1:
        (share,) = values
        return Estimate(share, wilson(round(share * pictures), pictures), 1, PICTURES)
    found = _student(values, SEEDS)
    low, high = found.interval  # of two seeds it may reach past what a share can be
    return replace(found, interval=(max(0.0, low), min(1.0, high)))


def difference(
    row: Mapping[int, float], base: Mapping[int, float], pictures: int
) -> Estimate | None:
    """Return the mean of ``row`` - ``base`` over the seeds that both have; None: they share none.

    Student's t over the pairs of runs of one seed; of one pair, Newcombe's interval (1998, method
    10), as if the two had been scored on different pictures, which is wider than need be.
    """
    seeds = [seed for seed in row if seed in base]
    pairs = [row[seed] - base[seed] for seed in seeds]
    if len(pairs) == 1:
        right = (round(each[seeds[0]] * pictures) for each in (row, base))
        return Estimate(pairs[0], newcombe(*((n, pictures) for n in right)), 1, NEWCOMBE)
    return _student(pairs, PAIRS) if pairs else None


def _student(values: Sequence[float], how: str) -> Estimate:
    centre, n = statistics.mean(values), len(values)
    half = t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(centre, (centre - half, centre + half), n, how)


def next_of(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95 % prediction interval of one more value; of two or more, normally distributed."""
    n = len(values)
    half = t_quantile(n - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    return statistics.mean(values) - half, statistics.mean(values) + half


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """Return t so that Student's t with ``freedom`` degrees lies in -t..t with probability ``level``."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """P(|t| < sqrt(freedom) tan(angle)): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(freedom // 2):
        total += term
        n = 2 * k + 1 + odd
        term *= n / (n + 1) * math.cos(angle) ** 2
    sine = math.sin(angle) * total
    return 2 / math.pi * (angle + sine) if odd else sine
