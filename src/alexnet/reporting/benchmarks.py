"""A folder of benchmark records as a page, a table of headlines and a picture.

::

    benchmarks/
      NAME.json      a record of ``alexnet bench`` (``benchmark.record``)
      README.md      every table, each under the command that made it     written here
      speed.png      the headline rows, a bar each                        written here
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import DataError
from alexnet.reporting import speed, style
from alexnet.reporting.marked import Table
from alexnet.reporting.text import markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, PICTURE = "README.md", "speed.png"
_NARROW, _WIDE = 0.01, 100.0  # ratios beyond these are drawn at the edge
_SUITES = ("step", "accuracy", "input", "stream", "inference", "start")
_INTRODUCTION = """# Benchmarks

Written by `alexnet bench all`, or by `python tools/update_benchmarks.py` from the records beside this
page. Median, the smallest and the largest of n; the last column is the ratio to what stands before
it, measured in the same run. [docs/benchmarks.md](../docs/benchmarks.md) says how to read it.
"""


def collect(folder: Path) -> list[dict[str, Any]]:
    """Read every record of a folder, by suite and name. Raises ``DataError`` where there is none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(
            f"{folder} holds no record; `alexnet bench start --record {folder}/start.json`"
        )
    found = [(path.stem, speed.read(path)) for path in paths]
    return [record for _, record in sorted(found, key=_place)]


def _place(named: tuple[str, Mapping[str, Any]]) -> tuple[int, str]:
    suite = named[1]["suite"]
    return (_SUITES.index(suite) if suite in _SUITES else len(_SUITES), named[0])


def write_page(folder: Path) -> list[Path]:
    """Write the page and the picture of a folder of records; returns their paths."""
    from alexnet.run.files import write_text

    records = collect(folder)
    write_text(folder / PAGE, page(records))
    return [folder / PAGE, draw(records, folder / PICTURE)]


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """Write all tables of all records in Markdown."""
    return "\n".join([_INTRODUCTION, *(_section(record) for record in records)])


def _section(record: Mapping[str, Any]) -> str:
    around, rows = record["environment"], record["rows"]
    notes = speed.notes(record)
    where = (
        f"{record['date']}, {around['hardware']}, {around['threads']} threads, "
        f"torch {around['packages']['torch']}, commit {record['commit'] or 'unknown'}"
    )
    table = markdown_table([speed.cells(row) for row in rows], speed.columns(rows))
    parts = [f"## {record['suite']}", f"`{record['command']}`", where, table, *notes]
    return "\n\n".join(parts) + "\n"


def headlines(records: Sequence[Mapping[str, Any]]) -> str:
    """Write the rows that stand for their suites as one Markdown table, each with its command."""
    rows = [
        {
            "suite": record["suite"],
            **{k: v for k, v in speed.cells(row).items() if k not in row["more"]},
            "hardware": record["environment"]["hardware"],
            "made by": f"`{record['command']}`",
        }
        for record, row in shown(records)
    ]
    notes = [record.get("note", "") for record, _ in shown(records)]
    return Table(rows, notes, "median").markdown


def shown(
    records: Sequence[Mapping[str, Any]],
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the headline rows that were measured, each behind its record."""
    return [
        (record, row)
        for record in records
        for row in record["rows"]
        if row["headline"] and row["ratio"] is not None
    ]


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw each headline's ratio as a bar from 1, where it equals what it stands beside.

    Raises ``DataError`` where no record has a headline.
    """
    rows = [row for _, row in shown(records)]
    labels = [_label(row, record["environment"]["hardware"]) for record, row in shown(records)]
    if not rows:
        raise DataError("no record has a row to draw")
    with style.styled():
        figure = style.new_figure(10.5, 1.2 + 0.34 * len(rows))
        axes = figure.add_subplot()
        _bars(axes, rows, labels)
        figure.suptitle("Ratio to what was measured beside it, in the same run")
        return style.save(figure, path)


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    ratios = [min(max(row["ratio"], _NARROW), _WIDE) for row in rows]
    heights = range(len(rows), 0, -1)
    axes.barh(heights, [r - 1 for r in ratios], left=1, height=0.62, color=style.RIGHT)
    axes.axvline(1, color=style.INK, linewidth=1)
    axes.set_xscale("log")
    low, high = min(*ratios, 0.5), max(*ratios, 2.0)
    axes.set_xlim(low / 10, high * 3)  # room for what is written at the end of a bar
    axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")  # "10^0" is a formula
    axes.xaxis.set_minor_formatter(lambda ratio, _: "")
    axes.set_yticks(list(heights), [style.readable(label) for label in labels])
    for height, ratio, row in zip(heights, ratios, rows, strict=True):
        text = f" {speed.figure(row['ratio'])} "
        axes.text(ratio, height, text, va="center", ha="left" if ratio >= 1 else "right")


def _label(row: Mapping[str, Any], hardware: str) -> str:
    return f"{row['what']} / {row['beside']} ({hardware})"
