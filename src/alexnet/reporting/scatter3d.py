"""Points in three dimensions as one page that a person can turn, without a network.

The page is ``scatter3d.html`` with the points as JSON in it. Its policy allows its own script and
style, by their sums, and nothing else: no request can leave it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.reporting.scatter import Floats, axis_name, check_points, colours, shape_of
from alexnet.run.files import write_whole


def write_scatter3d(
    points: Floats,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    shares: Sequence[float],
    title: str = "",
    files: Sequence[str] | None = None,
) -> Path:
    """Write the first three columns of ``points`` ``(N, k)`` as a page to turn.

    ``indices`` ``(N,)`` number the pictures, ``files`` name them: the page shows both under the
    pointer. The other arguments are those of ``scatter.plot_scatter``. Raises ``UsageError`` where they do not fit
    together, ``DataError`` where the file cannot be written.
    """
    check_points(points, labels, classes, shares, least=3)
    data = page_data(points, labels, indices, classes, shares=shares, title=title, files=files)
    return write_whole(path, page(data, title))


def page_data(
    points: Floats,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    classes: Sequence[str],
    *,
    shares: Sequence[float],
    title: str,
    files: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return what the page draws: coordinates with the median at 0, and one factor for all three.

    99 of 100 points lie within -1..1: a few far out do not press the others into a corner.
    """
    three = points[:, :3].astype(np.float64)
    three = three - np.median(three, axis=0)
    three = three / (np.percentile(np.abs(three).max(1), 99) or np.abs(three).max() or 1.0)
    present = np.unique(labels)
    painted = colours(len(classes))
    return {
        "title": title,
        "axes": [axis_name(number, shares) for number in range(3)],
        "classes": [
            {"name": classes[i], "colour": painted[i], "shape": shape_of(int(i))} for i in present
        ],
        "xyz": np.round(three, 4).ravel().tolist(),
        "label": np.searchsorted(present, labels).tolist(),
        "index": indices.tolist(),
        "file": list(files) if files else [],
    }


def page(data: dict[str, Any], title: str) -> str:
    """Fill the page. No text of the user's can end the block of data or become markup."""
    title = title.encode("utf-8", "replace").decode("utf-8")
    template = (files("alexnet.reporting") / "scatter3d.html").read_text(encoding="utf-8")
    script, style = (_between(template, tag) for tag in ("script", "style"))
    filled = {
        "{{policy}}": f"default-src 'none'; script-src '{_sum(script)}'; style-src '{_sum(style)}'",
        "{{title}}": html.escape(title),
        "{{data}}": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{\w+\}\}", lambda match: filled[match[0]], template)


def _between(template: str, tag: str) -> str:
    return template.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]


def _sum(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
