"""Records of ``alexnet bench`` as tables: for a terminal, and for a document. Nothing here imports torch.

A record is what ``benchmark.record`` keeps, as plain values. The last column is always a ratio to
what the row names beside it: a limit or a peer that was measured in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.reporting.recorded import read_checked
from alexnet.reporting.text import sentence, summary_table

ABSENT = "–"
_NEEDED = {"suite", "command", "rows", "environment", "commit", "date"}


def text(record: Mapping[str, Any]) -> str:
    """Write one record for a terminal: what it ran on, its table, and its notes below."""
    around = record["environment"]
    head = (
        f"{record['suite']}: {around['hardware']}, {around['threads']} threads, "
        f"torch {around['packages']['torch']}, {record['date']}, commit {record['commit'] or 'unknown'}"
    )
    table = summary_table([cells(r) for r in record["rows"]], columns=columns(record["rows"]))
    return "\n".join([head, "", table, *notes(record)])


def notes(record: Mapping[str, Any]) -> list[str]:
    """Return what is said below a table: on its rows, each once, and on the whole."""
    of_rows = dict.fromkeys(row["note"] for row in record["rows"] if row["note"])
    return [*of_rows, *([sentence(record["note"])] if record.get("note") else [])]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the heads of a table of rows, the ratio last."""
    more = dict.fromkeys(key for row in rows for key in row["more"])
    return ["what", "median", "min to max", "n", *more, "beside", "ratio"]


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return one row as words and figures, the ratio last."""
    found = row["measured"]
    middle = {
        "median": f"{figure(found['median'])} {row['unit']}".strip() if found else ABSENT,
        "min to max": f"{figure(found['min'])} to {figure(found['max'])}" if found else "",
        "n": str(found["n"]) if found else "",
    }
    more = {key: v if isinstance(v, str) else figure(v) for key, v in row["more"].items()}
    ratio = ABSENT if row["ratio"] is None else figure(row["ratio"])
    return {"what": row["what"], **middle, **more, "beside": row["beside"], "ratio": ratio}


def figure(value: float) -> str:
    """Write a number with three digits that count, or whole where it has more: 0.0123, 1.62, 1,296."""
    if not value:
        return "0"
    if not 1e-3 <= abs(value) < 1e9:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = next((d for d, least in ((1, 10.0), (2, 1.0), (3, 0.1)) if abs(value) >= least), 4)
    return f"{value:.{decimals}f}"


def read(path: Path) -> dict[str, Any]:
    """Read one record. Raises ``DataError`` for a file that is none."""
    return read_checked(path, _NEEDED, "`alexnet bench`")
