"""Recorded runs as one table: a row for each recipe and machine, over its seeds.

A record is a run's result.json, kept under any name in one folder. README and RESULTS.md carry the
table that comes out; a test holds them to it. Nothing here imports torch.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.errors import DataError
from alexnet.run.log import minutes


def collect(folder: Path) -> list[dict[str, str]]:
    """Read every record under ``folder`` and return the table's rows, by recipe and machine.

    Raises ``DataError`` for a folder without records or a file that is none.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = _read(path)
        changed = ", ".join(f"{k} = {v}" for k, v in record["changed"].items())
        key = (record["recipe"], changed, record["environment"]["hardware"])
        groups.setdefault(key, []).append(record)
    if not groups:
        raise DataError(f"{folder} holds no record; copy a run's result.json there")
    return [_row(records, changed) for (_, changed, _), records in sorted(groups.items())]


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = {"recipe", "changed", "seed", "test", "speed", "environment"} - record.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a record of a run: {error}") from None
    if missing:
        raise DataError(f"{path} is not a record of a run: it has no {', '.join(sorted(missing))}")
    return dict(record)


def _row(records: Sequence[Mapping[str, Any]], changed: str) -> dict[str, str]:
    accuracies = [100 * r["test"]["accuracy"] for r in records]
    first, n = records[0], len(records)
    spread = f" ± {statistics.stdev(accuracies):.2f}" if n > 1 else ""
    verdict = first.get("verdict")
    return {
        "recipe": first["recipe"] + (f" ({changed})" if changed else ""),
        "test top-1": f"{statistics.mean(accuracies):.2f}{spread} %",
        "n": str(n),
        "published": f"{100 * verdict['published']:.2f} %" if verdict else "",
        "training": minutes(_mean(records, "training_seconds")),
        "images/s": f"{_mean(records, 'images_per_second'):,.0f}",
        "T multiply-adds": f"{_mean(records, 'training_multiply_adds') / 1e12:,.1f}",
        "share of matrix rate": f"{_mean(records, 'share_of_matrix_rate'):.2f}",
        "hardware": first["environment"]["hardware"],
    }


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.mean(float(r["speed"][key]) for r in records)


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Write rows as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row[h] for h in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
