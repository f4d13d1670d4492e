"""Scores and rankings for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alexnet.reporting.confusion import plot_confusion
from alexnet.reporting.text import MOST_IN_WORDS, confusion_text, summary_table

if TYPE_CHECKING:  # the rankings of a prediction need no scoring
    from alexnet.evaluation import Scores
    from alexnet.prediction import Ranked


def text(scores: Scores, classes: Sequence[str]) -> str:
    """Write loss, top-k, per-class recall and, of few classes, the confusion matrix."""
    low, high = scores.interval
    how = ", ".join(filter(None, (f"views {scores.views}", scores.precision)))
    top = "  ".join(f"top-{k} {share:.2%}" for k, share in scores.top.items())
    matrix = np.array(scores.confusion)
    rows = [
        {
            "class": name,
            "pictures": int(count),
            "right": int(right),
            "recall": f"{recall:.2%}" if count else "-",
        }
        for name, count, right, recall in zip(
            classes, matrix.sum(1), matrix.diagonal(), scores.per_class, strict=True
        )
    ]
    pairs = (
        confusion_text(matrix, classes)
        if len(classes) <= MOST_IN_WORDS
        else f"The confusion matrix of {len(classes):,} classes: --json has it, --picture draws it."
    )
    return (
        f"{scores.count:,} pictures, {how}: {top}  loss {scores.loss:.4f}\n"
        f"95 % interval of top-1: {low:.2%} to {high:.2%}; "
        f"balanced accuracy {scores.balanced_accuracy:.2%}; macro-F1 {scores.macro_f1:.4f}; "
        f"calibration error {scores.calibration_error:.2%}\n\n"
        f"{summary_table(rows)}\n\n{pairs}"
    )


def draw_confusion(scores: Scores, classes: Sequence[str], path: Path, *, title: str) -> Path:
    """Draw the confusion matrix of some scores into a PNG."""
    return plot_confusion(np.array(scores.confusion), classes, path, title=title)


def ranking(name: str, ranked: Sequence[Ranked]) -> str:
    """Write a picture's name and, under it, its most probable classes."""
    return "\n".join([name, *(f"  {r.probability:7.2%}  {r.label}" for r in ranked)])
