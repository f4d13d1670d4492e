"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alexnet.reporting.style import (
    FAINT,
    INK,
    new_figure,
    percent,
    readable,
    save,
    styled,
    title_inches,
)
from alexnet.reporting.text import check_confusion, display_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this many classes a cell is too small to hold a number that can be read.
_MOST_COUNTED = 25
# Above this many, names would be too small to read, or the picture too large to look at.
_MOST_NAMED = 200


def plot_confusion(
    matrix: np.ndarray, classes: Sequence[str], path: Path, *, title: str = ""
) -> Path:
    """Draw an ``(n, n)`` integer confusion matrix as a PNG: rows true, columns predicted.

    Colour is the share of the row, on a square-root scale that shows the errors; the counts stand
    in the cells up to 25 classes, numbers in place of the names beyond 200. Raises ``UsageError``
    where matrix and names do not fit or the name does not end in ``.png``.
    """
    with styled():
        return save(confusion_figure(matrix, classes, title=title), path)


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], *, title: str = "") -> Figure:
    """The drawing that ``plot_confusion`` writes."""
    check_confusion(matrix, classes)
    n, title = len(classes), readable(title)
    named, side = n <= _MOST_NAMED, _side(n)
    names = [readable(name) for name in classes] if named else [str(n)]
    letters = min(10.0, side / n * 72 * 0.62) if named else 10.0
    # Everything is placed in inches, so that the cells are squares whatever the names are.
    longest = max(map(display_width, names)) * letters * 0.0086
    left, bottom = 0.5 + longest, 0.5 + longest * (0.75 if n <= _MOST_COUNTED else 1.0)
    width = left + max(side + 1.15, 0.2 + title_inches(title))
    height = bottom + side + (0.75 if title else 0.45)
    figure = new_figure(width, height, constrained=False)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    bar = figure.add_axes(
        ((left + side + 0.18) / width, (bottom + side * 0.2) / height, 0.14 / width,
         side * 0.6 / height)
    )  # fmt: skip
    _draw_shares(axes, bar, matrix)
    if named:
        _name_classes(axes, names, letters)
    else:
        axes.set_xticks(np.arange(0, n, 100))
        axes.set_yticks(np.arange(0, n, 100))
    _label(axes)
    if n <= _MOST_COUNTED:
        _write_counts(axes, matrix, side / n)
    figure.text(left / width, 1 - 0.28 / height, title, fontsize=12, fontweight="bold", va="center")
    axes.set_title(_summary(matrix), pad=8)
    return figure


def _side(n: int) -> float:
    """Inches of the matrix: 1.1 a class for a few, 0.32 where counts are written, 0.12 up to 200."""
    return max(min(1.1 * n, 6.0), (0.32 if n <= _MOST_COUNTED else 0.12) * min(n, _MOST_NAMED))


def _summary(matrix: np.ndarray) -> str:
    right, total = int(np.trace(matrix)), int(matrix.sum())
    return f"{right:,} of {total:,} right ({percent(right / max(total, 1), 2)})"


def _draw_shares(axes: Axes, bar: Axes, matrix: np.ndarray) -> None:
    from matplotlib.colors import PowerNorm

    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0)
    image = axes.imshow(share, cmap="Blues", norm=norm, interpolation="nearest")
    marks = (0.0, 0.05, 0.2, 0.5, 1.0)
    scale = axes.figure.colorbar(image, cax=bar, ticks=marks)
    scale.ax.set_yticklabels([percent(mark, 0) for mark in marks], fontsize=8)
    scale.ax.tick_params(length=0)
    scale.set_label("of the true class", fontsize=8)
    bar.spines[:].set_visible(False)


def _name_classes(axes: Axes, names: Sequence[str], letters: float) -> None:
    places = np.arange(len(names))
    slanted = len(names) <= _MOST_COUNTED
    axes.set_xticks(places, names, rotation=45 if slanted else 90, fontsize=letters)
    if slanted:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names, fontsize=letters)
    # White lines between the cells are the grid of the minor ticks.
    axes.set_xticks(places[:-1] + 0.5, minor=True)
    axes.set_yticks(places[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5 if slanted else 0.3)


def _label(axes: Axes) -> None:
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def _write_counts(axes: Axes, matrix: np.ndarray, cell: float) -> None:
    size = min(10.0, cell * 72 * 0.8 / (0.64 * len(str(matrix.max()))))
    totals = np.maximum(matrix.sum(axis=1), 1)
    for row, column in np.ndindex(matrix.shape):
        count = int(matrix[row, column])
        dark = count / totals[row] > 0.3
        colour = "white" if dark else INK if count else FAINT
        axes.text(column, row, str(count), ha="center", va="center", color=colour, size=size)
