"""What models said of each picture, as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from alexnet.data.photos.report import writable
from alexnet.errors import UsageError
from alexnet.evaluation import Answers
from alexnet.run.files import write_whole
from alexnet.run.named import Named

COLUMNS = ("index", "name", "true", "predicted", "probability")


def table_path(path: str | Path) -> Path:
    """Return where a table goes. Raises ``UsageError`` for a name that does not end in ``.csv``."""
    if Path(path).suffix.lower() != ".csv":
        raise UsageError(f"{path}: predictions are written as CSV; give a name that ends in .csv")
    return Path(path)


def write_answers(said: Answers, classes: Sequence[str], of: Named, path: Path) -> None:
    """Write a line for each picture: its number within the part of the data set, its file, its class,
    the class that is most probable, and how probable that is, 0..1.

    ``name`` is empty where pictures came from no files. UTF-8, with ``?`` in the place of what is
    not; an earlier file is replaced, whole.
    Raises ``DataError`` where it cannot be written.
    """
    best, guesses = said.logs.max(1)
    files = of.files() or [""] * len(of.source)
    rows = zip(
        of.source.chosen.tolist(),
        files,
        [classes[label] for label in said.labels.tolist()],
        [classes[guess] for guess in guesses.tolist()],
        [f"{p:.6f}" for p in best.exp().tolist()],
        strict=True,
    )
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows)
    write_whole(path, writable(text.getvalue()).encode())
