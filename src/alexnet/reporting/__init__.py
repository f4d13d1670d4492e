"""What a person looks at: pictures of a run and plain text tables.

Takes plain numbers and arrays, never a run or a recipe. matplotlib is imported by the drawing
functions themselves, so that importing this room costs nothing.
"""

from __future__ import annotations

from alexnet.reporting.confusion import plot_confusion
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.pictures import plot_prediction, plot_samples
from alexnet.reporting.style import RIGHT, WRONG
from alexnet.reporting.text import confusion_text, summary_table

__all__ = [
    "RIGHT",
    "WRONG",
    "confusion_text",
    "plot_confusion",
    "plot_curves",
    "plot_prediction",
    "plot_samples",
    "summary_table",
]
