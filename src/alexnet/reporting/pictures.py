"""Pictures with their titles: a grid of samples, and one prediction with its bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alexnet.errors import UsageError
from alexnet.reporting.style import (
    FAINT,
    INK,
    QUIET,
    RIGHT,
    WRONG,
    new_figure,
    percent,
    readable,
    save,
    styled,
    title_inches,
)
from alexnet.reporting.text import display_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_samples(
    images: np.ndarray,
    titles: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    colours: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """A grid of ``(N, H, W, 3)`` uint8 pictures, each under its title of one or two lines.

    Small pictures are enlarged pixel by pixel. ``colours``, one per title, paints the titles:
    ``RIGHT`` and ``WRONG`` are made for it. Raises ``UsageError`` where the numbers of pictures,
    titles and colours differ, for no picture at all, and for other arrays.
    """
    with styled():
        figure = samples_figure(images, titles, columns=columns, colours=colours, title=title)
        return save(figure, path)


def samples_figure(
    images: np.ndarray,
    titles: Sequence[str],
    *,
    columns: int = 8,
    colours: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """The drawing that ``plot_samples`` writes."""
    colours = colours if colours is not None else [INK] * len(titles)
    _check_samples(images, titles, columns, colours)
    columns = min(columns, len(images))
    cell, gap, head = 1.2, 0.14, 0.44 if title else 0.06
    lines = max(text.count("\n") + 1 for text in titles)
    pitch = cell + 0.1 + 0.16 * lines
    width = max(gap + columns * (cell + gap), 2 * gap + title_inches(title))
    height = head + math.ceil(len(images) / columns) * pitch + gap
    figure = new_figure(width, height, constrained=False)
    for index, (image, text, colour) in enumerate(zip(images, titles, colours, strict=True)):
        left = gap + (index % columns) * (cell + gap)
        bottom = height - head - (index // columns + 1) * pitch
        axes = figure.add_axes(
            (left / width, bottom / height, cell / width, cell / height), frameon=False
        )
        _show_picture(axes, image)
        axes.set_title(_short(readable(text)), fontsize=8, color=colour, loc="center", pad=3)
    if title:
        y = 1 - 0.28 / height
        figure.text(gap / width, y, readable(title), fontsize=12, fontweight="bold", va="center")
    return figure


def _short(text: str, most: int = 20) -> str:
    """Each line cut to what fits over a picture."""
    return "\n".join(_cut(line, most) for line in text.split("\n"))


def _cut(line: str, most: int) -> str:
    if display_width(line) <= most:
        return line
    while display_width(line) > most - 1:
        line = line[:-1]
    return f"{line}…"


def _check_samples(
    images: np.ndarray, titles: Sequence[str], columns: int, colours: Sequence[str]
) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise UsageError(
            f"samples are {images.dtype} of shape {images.shape}; expected uint8 (N, H, W, 3), N > 0"
        )
    if not len(images) == len(titles) == len(colours):
        raise UsageError(
            f"{len(images)} pictures with {len(titles)} titles and {len(colours)} colours; "
            "expected as many of each"
        )
    if columns < 1:
        raise UsageError(f"{columns} columns; expected 1 or more")


def _show_picture(axes: Axes, image: np.ndarray) -> None:
    side = max(image.shape[:2])
    # Enlarged pixels stay pixels; a photograph is thinned first, then scaled down smoothly.
    step = max(1, side // 1000)
    interpolation = "nearest" if side <= 192 else "antialiased"
    axes.imshow(image[::step, ::step], interpolation=interpolation)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def plot_prediction(
    image: np.ndarray,
    ranked: Sequence[tuple[str, float]],
    path: Path,
    *,
    actual: str | None = None,
    title: str = "",
) -> Path:
    """One ``(H, W, 3)`` uint8 picture beside the bars of its most probable classes.

    ``ranked`` are (name, probability 0 to 1), most probable first; ``actual`` is the true name
    where it is known. Raises ``UsageError`` for another array or an empty ranking.
    """
    with styled():
        return save(prediction_figure(image, ranked, actual=actual, title=title), path)


def prediction_figure(
    image: np.ndarray,
    ranked: Sequence[tuple[str, float]],
    *,
    actual: str | None = None,
    title: str = "",
) -> Figure:
    """The drawing that ``plot_prediction`` writes."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(
            f"the picture is {image.dtype} of shape {image.shape}; expected uint8 (H, W, 3)"
        )
    if not ranked:
        raise UsageError("the ranking is empty; expected one (name, probability) at least")
    figure = new_figure(8, max(3.2, 1.3 + 0.36 * len(ranked)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _show_picture(left, image)
    _draw_ranking(right, ranked, actual)
    caption = _caption(ranked[0], actual)
    figure.suptitle("\n".join(filter(None, [readable(title), caption])), fontsize=12)
    return figure


def _caption(best: tuple[str, float], actual: str | None) -> str:
    name, probability = best
    said = f"predicted {readable(name)} {percent(probability)}"
    return said if actual is None else f"{said}   ·   actual {readable(actual)}"


def _draw_ranking(axes: Axes, ranked: Sequence[tuple[str, float]], actual: str | None) -> None:
    best = ranked[0][0]
    truth = best if actual is None else actual
    colours = [RIGHT if name == truth else WRONG if name == best else FAINT for name, _ in ranked]
    places = range(len(ranked))
    values = [probability for _, probability in ranked]
    axes.barh(places, values, color=colours, height=0.66)
    axes.set_yticks(places, [readable(name) for name, _ in ranked])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xticks([])
    axes.set_xlim(0, 1.18)
    axes.set_ylim(max(len(ranked), 4) - 0.5, -0.5)
    axes.spines[["bottom", "top", "right"]].set_visible(False)
    for place, value in zip(places, values, strict=True):
        axes.text(value + 0.015, place, percent(value), va="center", color=QUIET)
