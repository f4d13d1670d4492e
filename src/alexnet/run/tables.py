"""Tables for other programs: CSV, whole or not there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet.data.photos.report import writable
from alexnet.run.files import write_whole


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a line of ``columns`` and one for each of ``rows``, in the place of an earlier file.

    UTF-8, with ``?`` in the place of what is not. Raises ``DataError`` where it cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    write_whole(path, writable(text.getvalue()).encode())
