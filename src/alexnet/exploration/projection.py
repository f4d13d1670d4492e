"""Vectors brought to a few dimensions by principal components, and how far classes lie apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import UsageError
from alexnet.exploration.embedding import Embedding

Floats = NDArray[np.floating[Any]]
COMPARED = 2000  # pictures, at most, that a silhouette is taken over: it compares each with each
_DENSE = 500  # a matrix of no more rows or columns is decomposed whole


@dataclass(frozen=True, eq=False)
class Projection:
    """Principal components of an embedding.

    ``points`` ``(N, k)`` are the pictures in the new axes, ``axes`` ``(k, D)`` those axes (of
    length 1, at right angles; the sign of each is arbitrary), ``centre`` ``(D,)`` the mean that was
    subtracted. ``shares``: the part of the variance of all D values that each axis carries, 0..1,
    largest first.
    """

    points: NDArray[np.float32]
    axes: NDArray[np.float32]
    centre: NDArray[np.float32]
    shares: tuple[float, ...]


def need_scikit_learn() -> None:
    """Raise ``UsageError`` that says how to install scikit-learn where it is not there."""
    try:
        import sklearn  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise UsageError(
            "principal components and silhouettes are computed by scikit-learn, which is not "
            "installed; install it with: pip install scikit-learn   (or -e '.[explore]')"
        ) from None


def project(space: Embedding, components: int = 2) -> Projection:
    """Return the principal components of an embedding, by scikit-learn's PCA.

    ``components`` is 1 or more, at most the smaller of N and D. The result is the same every time:
    large matrices are decomposed by an iteration to machine precision (ARPACK) from a fixed start.
    Raises ``UsageError`` for another number, or where scikit-learn is not installed.
    """
    need_scikit_learn()
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]

    most = min(space.vectors.shape)
    if not 1 <= components <= most:
        raise UsageError(f"{components} components of {_shape(space)}; choose 1 to {most}")
    solver = "full" if most <= _DENSE or components == most else "arpack"
    centre = space.vectors.mean(0, dtype=np.float64)  # in float32 a sum of 10,000 loses two digits
    centred = space.vectors - centre.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # vectors that are all alike: no variance
        found = PCA(components, svd_solver=solver, random_state=0).fit(centred)
    shares = tuple(map(float, np.nan_to_num(found.explained_variance_ratio_)))
    return Projection(
        centred @ found.components_.T, found.components_, centre.astype(np.float32), shares
    )


def _shape(space: Embedding) -> str:
    return f"{len(space):,} pictures of {space.vectors.shape[1]:,} values"


@dataclass(frozen=True)
class Separation:
    """How far the classes lie apart.

    ``silhouette``, -1..1: the mean over ``compared`` pictures of (b - a) / max(a, b), where a is a
    picture's mean distance to its own class and b that to the nearest other (Rousseeuw 1987).
    ``ratio``: the variance of the class centres over the mean variance within classes, both summed
    over the values; ``inf`` where the pictures of each class coincide. ``nearest``: the two classes
    whose centres are closest for their spread, and that distance in spreads: the root of the mean
    squared distance to the own centre.
    """

    silhouette: float
    compared: int
    ratio: float
    nearest: tuple[str, str]
    nearest_spreads: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values as JSON has them: what is infinite is None."""
        finite = [x if math.isfinite(x) else None for x in (self.ratio, self.nearest_spreads)]
        return {
            "silhouette": self.silhouette,
            "compared": self.compared,
            "between_over_within": finite[0],
            "nearest": list(self.nearest),
            "nearest_spreads": finite[1],
        }


def separation(
    points: Floats, labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Separation | None:
    """Measure how far the classes of ``points`` ``(N, D)`` lie apart.

    None where there is nothing to measure: one class alone, or no class with two pictures. Raises
    ``UsageError`` where scikit-learn is not installed.
    """
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2 or counts.max() < 2:
        return None
    own = [points[labels == label].astype(np.float64) for label in present]
    centres = np.array([group.mean(0) for group in own])
    within = np.array([np.square(g - c).sum(1).mean() for g, c in zip(own, centres, strict=True)])
    weights = counts / counts.sum()
    spread = weights @ np.square(centres - weights @ centres).sum(1)
    silhouette, compared = _silhouette(points, labels)
    spreads, pair = _nearest(centres, within)
    names = classes[int(present[pair[0]])], classes[int(present[pair[1]])]
    return Separation(silhouette, compared, _over(spread, weights @ within), names, spreads)


def _silhouette(points: Floats, labels: NDArray[np.int64]) -> tuple[float, int]:
    need_scikit_learn()
    from sklearn.metrics import silhouette_score  # type: ignore[import-untyped]

    drawn = np.random.Generator(np.random.PCG64(0)).permutation(len(points))[:COMPARED]
    if not 2 <= len(np.unique(labels[drawn])) < len(drawn):
        drawn = np.arange(len(points))
    return float(silhouette_score(points[drawn], labels[drawn])), len(drawn)


def _nearest(centres: Floats, within: Floats) -> tuple[float, tuple[int, int]]:
    return min(
        (
            _over(np.linalg.norm(centres[a] - centres[b]), math.sqrt((within[a] + within[b]) / 2)),
            (a, b),
        )
        for a, b in combinations(range(len(centres)), 2)
    )


def _over(above: float | np.floating[Any], below: float | np.floating[Any]) -> float:
    return float(above) / float(below) if below else math.inf if above else 0.0
