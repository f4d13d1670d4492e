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


def newcombe(first: tuple[float, int], second: tuple[float, int]) -> tuple[float, float]:
    """Return the 95 % interval of the first share less the second, each as (right, pictures).

    Newcombe (1998), Statistics in Medicine 17: 873-890, method 10, from two Wilson intervals of
    independent samples: on the wide side for two networks that are scored on the same pictures.
    """
    (low1, high1), (low2, high2) = wilson(*first), wilson(*second)
    share1, share2 = first[0] / first[1], second[0] / second[1]
    below, above = (
        math.hypot(share1 - low1, high2 - share2),
        math.hypot(high1 - share1, share2 - low2),
    )
    return share1 - share2 - below, share1 - share2 + above
