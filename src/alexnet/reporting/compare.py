"""Two networks side by side, and in words where they differ. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from difflib import SequenceMatcher
from typing import Any

from alexnet.models import table
from alexnet.models.rows import Row
from alexnet.models.table import Network, Traced
from alexnet.reporting.cards import kind_of
from alexnet.reporting.layer_text import ALPHA
from alexnet.reporting.text import summary_table

Pair = tuple[Traced | None, Traced | None]


def compare(first: Network, second: Network) -> tuple[str, dict[str, Any]]:
    """Return two networks side by side: as text for a person, as plain values for a program."""
    pairs = _pairs(table.trace(first), table.trace(second))
    differences = list(_differences(first, second, pairs))
    rows = [
        {
            "": " " if _same(a, b) else "*",
            "layer": (a or b).row.name,  # type: ignore[union-attr]
            first.name: _cell(a),
            second.name: _cell(b),
        }
        for a, b in pairs
    ]
    said = [f"  {d['where']}: {_said(d['first'])} / {_said(d['second'])}" for d in differences]
    count = f"{len(said)} difference{'s'[: len(said) != 1]}"
    if any(str(d["where"]).endswith(" alpha") for d in differences):
        said += ["", ALPHA]
    text = "\n".join([summary_table(rows), "", f"{count}{':' if said else ''}", *said])
    return text, {"networks": [first.name, second.name], "differences": differences}


def _said(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def _pairs(first: list[Traced], second: list[Traced]) -> list[Pair]:
    """Lay rows of the same name beside each other, keeping the order of both."""
    names = [step.row.name for step in first], [step.row.name for step in second]
    pairs: list[Pair] = []
    for kind, a, b, c, d in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if kind == "equal":
            pairs += zip(first[a:b], second[c:d], strict=True)
        else:
            pairs += [(step, None) for step in first[a:b]] + [(None, step) for step in second[c:d]]
    return pairs


def _same(a: Traced | None, b: Traced | None) -> bool:
    if a is None or b is None:
        return False
    return (a.row, a.outputs, a.parameters) == (b.row, b.outputs, b.parameters)


def _cell(step: Traced | None) -> str:
    if step is None:
        return ""
    count = step.parameters + step.buffers
    shape = "x".join(map(str, step.outputs))
    return f"{kind_of(step.row)} {shape}{f', {count:,} params' if count else ''}"


def _differences(first: Network, second: Network, pairs: list[Pair]) -> Iterator[dict[str, Any]]:
    """Say each difference once: the networks' own settings, then row by row, then the totals."""
    for name in ("size", "init"):
        yield from _unless_equal(name, getattr(first, name), getattr(second, name))
    before, places = (_predecessors(first), _predecessors(second)), {r.name: r for r in second.rows}
    for a, b in pairs:
        if a is not None and b is not None:
            yield from _row_differences(a.row, b.row)
            continue
        step: Traced = a or b  # type: ignore[assignment]
        row = step.row
        if row.name in before[0] and row.name in before[1]:
            if a is not None:  # moved: met twice, said once
                yield from _unless_equal(f"{row.name} comes after", *(b[row.name] for b in before))
                yield from _row_differences(row, places[row.name])
        else:
            of = f" of {', '.join(step.reads)}" if row.reads or step.beside else ""
            there = f"{row.kind}{of} there"
            yield from _unless_equal(row.name, there if a else "absent", there if b else "absent")
    sums = table.totals(table.trace(first)), table.totals(table.trace(second))
    for name in ("parameters", "multiply_adds"):
        yield from _unless_equal(name.replace("_", "-"), *(getattr(total, name) for total in sums))


def _predecessors(network: Network) -> dict[str, str]:
    names = ["the picture", *(row.name for row in network.rows)]
    return dict(zip(names[1:], names, strict=False))


def _row_differences(a: Row, b: Row) -> Iterator[dict[str, Any]]:
    if type(a) is not type(b):
        yield from _unless_equal(a.name, a.kind, b.kind)
        return
    for setting in fields(a):
        values = getattr(a, setting.name), getattr(b, setting.name)
        if setting.name == "reads":
            values = values[0] or "the row before", values[1] or "the row before"
        yield from _unless_equal(f"{a.name} {setting.name}", *values)


def _unless_equal(where: str, first: Any, second: Any) -> Iterator[dict[str, Any]]:
    if first != second:
        yield {"where": where, "first": first, "second": second}
