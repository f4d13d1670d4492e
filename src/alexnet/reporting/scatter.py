"""Points in two dimensions, a colour and a shape for each class."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import UsageError
from alexnet.reporting.style import new_figure, percent, readable, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.floating[Any]]

# Ten hues of different lightness (matplotlib's tab10); more classes are spread over the circle.
TEN = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
# Shape as well as colour: neighbours in the list are told apart without seeing colours.
SHAPES = ("circle", "square", "triangle")
_MARKERS = {"circle": "o", "square": "s", "triangle": "^"}
_COLUMN = 25  # entries of a legend under each other
_LAYERS = 12  # in which each class's points are drawn, turn about


def colours(count: int) -> list[str]:
    """Return ``count`` colours as ``#rrggbb``, all different."""
    if count <= len(TEN):
        return list(TEN[:count])
    return [_hue(index, count) for index in range(count)]


def _hue(index: int, count: int) -> str:
    lightness = (0.35, 0.5, 0.65)[index % 3]
    r, g, b = colorsys.hls_to_rgb(index / count, lightness, 0.75)
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in (r, g, b)))


def shape_of(index: int) -> str:
    """Return the shape of a class's points, one of ``SHAPES``."""
    return SHAPES[index % len(SHAPES)]


def plot_scatter(
    points: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    shares: Sequence[float],
    title: str = "",
) -> Path:
    """Draw the first two columns of ``points`` ``(N, k)`` as a PNG, with axes PC1 and PC2.

    ``labels`` are int64 ``(N,)`` into ``classes``; ``shares`` are the parts of the variance that
    the axes carry, 0..1. Raises ``UsageError`` where these do not fit together.
    """
    with styled():
        return save(scatter_figure(points, labels, classes, shares=shares, title=title), path)


def scatter_figure(
    points: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    shares: Sequence[float],
    title: str = "",
) -> Figure:
    """The drawing that ``plot_scatter`` writes."""
    check_points(points, labels, classes, shares, least=2)
    present = [int(label) for label in np.unique(labels)]
    columns = -(-len(present) // _COLUMN)
    figure = new_figure(7.4 + 1.8 * columns, 6.4)
    axes = figure.subplots()
    size = float(np.clip(20000 / len(points), 4, 40))
    painted = colours(len(classes))
    for part in range(_LAYERS):  # else the last class would lie over all others
        for label in present:
            chosen = points[labels == label][part::_LAYERS]
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=size,
                c=painted[label],
                marker=_MARKERS[shape_of(label)],
                alpha=0.6,
                linewidths=0,
                label=None if part else readable(classes[label]),
            )
    axes.set_xlabel(axis_name(0, shares))
    axes.set_ylabel(axis_name(1, shares))
    axes.set_title(readable(title), fontweight="bold")
    legend = figure.legend(loc="outside right upper", ncols=columns, markerscale=6 / size**0.5)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


def axis_name(number: int, shares: Sequence[float]) -> str:
    """Name an axis with what it carries: ``PC1 (12.3 % of the variance)``."""
    return f"PC{number + 1} ({percent(shares[number])} of the variance)"


def check_points(
    points: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    shares: Sequence[float],
    *,
    least: int,
) -> None:
    """Raise ``UsageError`` unless there is a point, ``least`` columns, and a class for each."""
    if points.ndim != 2 or not len(points) or points.shape[1] < least:
        raise UsageError(f"points of shape {points.shape}; expected (N, {least} or more), N > 0")
    if len(labels) != len(points) or len(shares) != points.shape[1]:
        raise UsageError(
            f"{len(points)} points of {points.shape[1]} values with {len(labels)} labels and "
            f"{len(shares)} shares; expected a label for each point, a share for each value"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UsageError(f"labels {labels.min()} to {labels.max()} with {len(classes)} class names")
