"""Loss and accuracy over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.errors import UsageError
from alexnet.reporting.style import (
    INK,
    QUIET,
    TRAINING,
    VALIDATION,
    new_figure,
    percent,
    readable,
    save,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_curves(
    history: Sequence[Mapping[str, float]],
    path: Path,
    *,
    published: Mapping[str, Sequence[float]] | None = None,
    title: str = "",
) -> Path:
    """Loss and accuracy over the epochs, training beside validation, as a PNG of 1600 x 640.

    ``history`` has one mapping per epoch: ``epoch`` (1-based; by default its place), and any of
    ``train_loss``, ``val_loss``, ``train_accuracy``, ``val_accuracy`` (0 to 1); other keys are
    ignored. ``published`` holds, under the same keys, one number per epoch from 1, drawn dashed.

    Raises ``UsageError`` for an empty history or a name that does not end in ``.png``.
    """
    with styled():
        return save(curves_figure(history, published=published, title=title), path)


def curves_figure(
    history: Sequence[Mapping[str, float]],
    *,
    published: Mapping[str, Sequence[float]] | None = None,
    title: str = "",
) -> Figure:
    """The drawing that ``plot_curves`` writes."""
    if not history:
        raise UsageError("there is no epoch to draw; train for one epoch at least")
    figure = new_figure(10, 4)
    if title:
        figure.suptitle(readable(title), fontsize=12, fontweight="bold")
    loss, accuracy = figure.subplots(1, 2)
    for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
        _draw_metric(axes, metric, history, published or {})
    return figure


def _draw_metric(
    axes: Axes,
    metric: str,
    history: Sequence[Mapping[str, float]],
    published: Mapping[str, Sequence[float]],
) -> None:
    for split, name, colour in (("train", "training", TRAINING), ("val", "validation", VALIDATION)):
        epochs, values = _series(history, f"{split}_{metric}")
        if values:
            label = f"{name}, last {_shown(values[-1], metric)}"
            marker = "o" if len(values) <= 12 else ""
            axes.plot(epochs, values, color=colour, marker=marker, markersize=4, label=label)
        theirs = published.get(f"{split}_{metric}", ())
        if len(theirs):
            label = f"published {name}, last {_shown(theirs[-1], metric)}"
            shade = INK if split == "val" else QUIET
            xs = range(1, len(theirs) + 1)
            axes.plot(xs, theirs, color=shade, linestyle=(0, (4, 2)), linewidth=1.4, label=label)
    _finish_axes(axes, metric)


def _finish_axes(axes: Axes, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_title(metric)
    axes.set_xlabel("epoch")
    axes.grid(True)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if max(len(line.get_xdata()) for line in axes.lines) == 1:  # type: ignore[arg-type]
        axes.set_xlim(0, 2)
    # Fixed ends, so that the curves of two runs can be compared by eye.
    if metric == "loss":
        axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1.0)
        axes.legend(loc="best")
    else:
        axes.set_ylim(min(0.8, math.floor(10 * axes.dataLim.y0) / 10), 1.0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.legend(loc="best")


def _series(history: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Epochs and finite values of one key, skipping the epochs that did not measure it."""
    found = [
        (float(row.get("epoch", place)), float(row[key]))
        for place, row in enumerate(history, start=1)
        if row.get(key) is not None and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _shown(value: float, metric: str) -> str:
    return percent(value) if metric == "accuracy" else f"{value:.3f}"
