"""A study's record in tables and sentences, for a terminal and as Markdown. Imports no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.reporting.recorded import read_checked
from alexnet.reporting.text import markdown_table, summary_table
from alexnet.run.log import minutes

NEEDED = {"study", "command", "seeds", "changes", "rows", "cells", "missing", "grid", "environment"}
OF_A_ROW = {"name", "title", "base", "at", "published", "top"}
Table = list[dict[str, str]]


def read(path: Path) -> dict[str, Any]:
    """Read a study.json. Raises ``DataError`` for a file that is none."""
    return read_checked(path, NEEDED, "a study", OF_A_ROW)


def text(record: dict[str, Any]) -> str:
    """Write a study for a terminal."""
    return _written(record, f"{record['study']}: {record['summary']}", summary_table)


def markdown(record: dict[str, Any]) -> str:
    """Write a study as Markdown: tables, sentences, and the command that made it."""
    head = f"### {record['study']}\n\n{record['summary']}."
    return _written(record, head, markdown_table)


def _written(record: dict[str, Any], head: str, write: Callable[[Table], str]) -> str:
    tables = [write(table(record, k)) for k in tops(record)]
    if record["grid"]:
        tables.insert(0, write(grid(record)))
    said = "\n".join(f"- {line}" for line in sentences(record))
    return "\n\n".join(filter(None, [head, *tables, said, _made(record)]))


def tops(record: dict[str, Any]) -> list[str]:
    """Return the k of every top-k that all rows with figures have."""
    found = [row["top"].keys() for row in record["rows"] if row["top"]]
    return [k for k in (found[0] if found else ()) if all(k in keys for keys in found)]


def table(record: dict[str, Any], k: str) -> Table:
    """Return a line for each row: mean, difference to the base row, intervals, published figure."""
    return [
        {
            "row": row["title"],
            "n": str(row["top"][k]["n"]) if row["top"] else "0",
            f"top-{k}": _share(row["top"].get(k)),
            "95 % interval": _interval(row["top"].get(k)),
            "difference": _points(_gap(row, k)),
            "to": _title(record, row["base"]) if row["base"] else "",
            "95 % interval of it": _interval(_gap(row, k), sign="+"),
            "published": _claim(row["published"], k),
        }
        for row in record["rows"]
    ]


def grid(record: dict[str, Any]) -> Table:
    """Return a study of two factors as a table: all top-k of each cell, the published beside them."""
    heads = list(dict.fromkeys(row["at"][1] for row in record["rows"]))
    lines = list(dict.fromkeys(row["at"][0] for row in record["rows"]))
    corner = f"{record['grid']['rows']} \\ {record['grid']['columns']}"
    cells = {tuple(row["at"]): _in_grid(row, tops(record)) for row in record["rows"]}
    return [{corner: line, **{h: cells.get((line, h), "") for h in heads}} for line in lines]


def _in_grid(row: dict[str, Any], ks: Sequence[str]) -> str:
    ours = " / ".join(_share(row["top"].get(k)) for k in ks) if row["top"] else "not run"
    theirs = [_claim(row["published"], k) for k in ks]
    return f"{ours} ({' / '.join(theirs)} published)" if any(theirs) else ours


def sentences(record: dict[str, Any]) -> list[str]:
    """Say of every row whether its difference to its base row can be told from none, top-1."""
    rows = [row for row in record["rows"] if row["base"]]
    return [_sentence(row, _title(record, row["base"])) for row in rows]


def _sentence(row: dict[str, Any], base: str) -> str:
    gap, published = _gap(row, "1"), row["published"] or {}
    if gap is None:
        said = f"not measured beside {base} yet"
    else:
        low, high = (100 * end for end in gap["interval"])
        zero = (
            "contains zero: no difference is shown" if low <= 0 <= high else "does not contain zero"
        )
        said = (
            f"{_points(gap)} points against {base}, 95 % interval {low:+.2f} to {high:+.2f} "
            f"({gap['how']}, n = {gap['n']}), which {zero}"
        )
        said += _beside(published.get("points", {}).get("top1"), low, high)
    note = f" ({published['note']})" if published.get("note") else ""
    return f"{row['title']}: {said}{note}."


def _beside(points: float | None, low: float, high: float) -> str:
    if points is None:
        return ""
    return f"; {points:+.1f} published, {'inside' if low <= points <= high else 'outside'} it"


def _made(record: dict[str, Any]) -> str:
    """Say what the figures are of, and how to have them again."""
    environment, done = record["environment"], record["cells"]
    if not done:
        return f"No run is finished; `{command_of(record)}` runs {record['missing']}."
    hows = dict.fromkeys(row["top"]["1"]["how"] for row in record["rows"] if "1" in row["top"])
    machines = " and ".join(sorted({_machine(cell, environment) for cell in done}))
    missing = f", {record['missing']} more to run" if record["missing"] else ""
    return (
        f"Intervals of a row's mean: {', '.join(hows)}. {len(done)} runs{missing}, "
        f"{minutes(record['seconds'])} of training on {machines}, by `{command_of(record)}` "
        f"({record['date']})."
    )


def command_of(record: Mapping[str, Any]) -> str:
    """Return what makes all runs of a study: that typed last may have made a few of them."""
    typed = shlex.split(record["command"])
    name = next((word for word in typed if word.endswith(".toml")), record["study"])
    settings = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in record["changes"].items()
    ]
    seeds = ",".join(map(str, record["seeds"]))
    words = ["alexnet", "study", name, "--seeds", seeds]
    return shlex.join([*words, *(word for each in settings for word in ("--set", each))])


def _machine(cell: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Say what a run was trained on; an older record has precision and torch of its first run alone."""
    precision = cell.get("precision", first["precision"])
    return f"{cell['hardware']}, {precision}, torch {cell.get('torch', first['packages']['torch'])}"


def _title(record: dict[str, Any], name: str) -> str:
    return str(next(row["title"] for row in record["rows"] if row["name"] == name))


def _gap(row: dict[str, Any], k: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = row["top"].get(k, {}).get("difference")
    return found


def _share(figure: dict[str, Any] | None) -> str:
    return f"{100 * figure['value']:.2f} %" if figure else ""


def _points(gap: dict[str, Any] | None) -> str:
    return f"{100 * gap['value']:+.2f}" if gap else ""


def _interval(figure: dict[str, Any] | None, sign: str = "") -> str:
    if not figure:
        return ""
    low, high = (100 * end for end in figure["interval"])
    return f"{low:{sign}.2f} to {high:{sign}.2f}"


def _claim(published: dict[str, Any] | None, k: str) -> str:
    """Write a published accuracy, or else a published difference in points."""
    if not published:
        return ""
    accuracy, points = (published[kind].get(f"top{k}") for kind in ("accuracy", "points"))
    if accuracy is not None:
        return f"{100 * accuracy:.2f} %"
    return "" if points is None else f"{points:+.1f}"
