"""Plain text for a terminal or a log: aligned columns, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alexnet.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

# 12, -3.5e-4, 58,324,746, 88.5 %, 12.4 MB, 4x, 10/10
_NUMBER = re.compile(r"[-+]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?( ?%|x| ?[a-zA-Zµ]{0,3}(/s)?|/\d+)?")
_EMPTY = ("", "-", "–")
MOST_IN_WORDS = 30  # classes; of more, no table a class and no integers a pair


def summary_table(
    rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None
) -> str:
    """One line of heads, a rule, one line per row; columns of numbers are right-aligned.

    ``columns`` are the keys to show, in order; otherwise every key, as first met. A row without
    a key, or with ``None``, has an empty cell. No rows give "(none)". No newline at the end.
    """
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    if not rows or not columns:
        return "(none)"
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    rights = [_all_numbers([line[i] for line in cells]) for i in range(len(columns))]
    heads = [_cell(key) for key in columns]
    widths = [max(display_width(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join(_line(line, widths, rights) for line in lines)


def confusion_text(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """The raw integers of an ``(n, n)`` confusion matrix: rows true, columns predicted.

    Columns are headed by the number of the class, rows by number and name. Raises ``UsageError``
    where matrix and names do not fit.
    """
    check_confusion(matrix, classes)
    wide = max(len(str(int(matrix.max()))), len(str(len(classes) - 1)))
    names = [f"{index} {name}" for index, name in enumerate(map(_cell, classes))]
    digits = len(str(len(classes) - 1))
    names = [" " * (digits - len(name.split(" ", 1)[0])) + name for name in names]
    heads = ["true \\ predicted", *(str(index) for index in range(len(classes)))]
    lines = [heads] + [[name, *map(str, row)] for name, row in zip(names, matrix, strict=True)]
    widths = [max(display_width(line[0]) for line in lines)] + [wide] * len(classes)
    return "\n".join(_line(line, widths, [False] + [True] * len(classes)) for line in lines)


def check_confusion(matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Raise ``UsageError`` unless ``matrix`` holds counts, one row and column for each class."""
    n = len(classes)
    if n == 0 or matrix.shape != (n, n):
        raise UsageError(
            f"a confusion matrix of shape {matrix.shape} with {n} class names; "
            "expected one row and one column for each class"
        )
    if matrix.dtype.kind not in "iu" or matrix.min() < 0:
        raise UsageError(
            f"a confusion matrix of {matrix.dtype} with smallest entry {matrix.min()}; "
            "expected integer counts of 0 or more"
        )


def markdown_table(rows: Sequence[Mapping[str, str]], heads: Sequence[str] | None = None) -> str:
    """Write rows as a Markdown table; a ``|`` in a cell ends no column.

    ``heads``: the keys to show, in order; otherwise those of the first row. A row without one has an
    empty cell.
    """
    heads = list(rows[0]) if heads is None else heads
    lines = [heads, ["---"] * len(heads), *([row.get(h, "") for h in heads] for row in rows)]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def sentence(remark: str) -> str:
    """Write a remark as a sentence: with a capital and a full stop."""
    return f"{remark[:1].upper()}{remark[1:]}."


def figure(value: float) -> str:
    """Write a count with all its digits, a fraction with four."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def in_brackets(name: str | None) -> str:
    """Write a name behind what it names, `` (cats/1.jpg)``; nothing where there is none."""
    return "" if name is None else f" ({_cell(name)})"


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else " " for char in text)


def _all_numbers(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell not in _EMPTY]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def display_width(text: str) -> int:
    """Columns of a terminal that the text takes: Hangul and Chinese letters take two each."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _line(cells: Sequence[str], widths: Sequence[int], rights: Sequence[bool]) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, rights, strict=True):
        space = " " * (width - display_width(cell))
        padded.append(space + cell if right else cell + space)
    return "  ".join(padded).rstrip()


def machine(where: Mapping[str, str]) -> str:
    """Name one of the machines that took part in a run (``machines`` of its record)."""
    return f"{where['hardware']} ({where['device']}, {where['precision']}, torch {where['torch']})"
