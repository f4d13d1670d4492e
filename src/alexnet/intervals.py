"""How far a share that was counted may lie from the truth: 95 % intervals. No torch here."""

from __future__ import annotations

import math

Z = 1.959964  # of the normal distribution, 95 % in the middle


def wilson(right: float, count: int, z: float = Z) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (95 % by default).

    ``right`` of ``count`` pictures, ``count`` > 0; not whole where it is a mean over seeds.
    """
    share, zz = right / count, z * z / count
    middle = (share + zz / 2) / (1 + zz)
    half = z * math.sqrt(share * (1 - share) / count + zz / (4 * count)) / (1 + zz)
    return middle - half, middle + half


def difference(
    first: float, first_count: int, second: float, second_count: int
) -> tuple[float, float]:
    """Return the 95 % interval of ``first - second``, shares of so many pictures, each above 0.

    Newcombe's interval 10 (Statistics in Medicine 17, 1998) of independent samples: on the wide side
    for two networks that are scored on the same pictures.
    """
    low1, high1 = wilson(first * first_count, first_count)
    low2, high2 = wilson(second * second_count, second_count)
    below = math.hypot(first - low1, high2 - second)
    above = math.hypot(high1 - first, second - low2)
    return first - second - below, first - second + above
