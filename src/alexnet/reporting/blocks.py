"""A network's table gathered into blocks, to be drawn: each layer with weights and what follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alexnet.models import rows, table
from alexnet.models.rows import Row, Shape
from alexnet.models.table import Network, Traced

WEIGHTED = (rows.Conv, rows.Local, rows.Dense)


@dataclass(frozen=True)
class Block:
    """One layer with weights and the rows behind it, as one of ``columns`` towers has it.

    ``made`` is the shape that the layer gives in one tower, ``out`` what the pools behind it leave.
    ``exchange``: it sees the maps of both towers.
    """

    name: str
    kernel: str  # e.g. "11x11 / 4"; empty for a dense layer
    columns: int
    exchange: bool
    made: Shape
    out: Shape
    parameters: int
    after: tuple[str, ...]  # e.g. ("ReLU", "LRN 5", "max pool 3x3 / 2")


def towers(network: Network) -> int:
    """Return the number of towers: the most groups that a row of the table has."""
    return max(_groups(row) for row in network.rows)


def blocks(network: Network, size: int | None = None) -> list[Block]:
    """Gather a table into its blocks, in order. Raises ``TooSmall``."""
    found: list[list[Traced]] = []
    for step in table.trace(network, size):
        if isinstance(step.row, WEIGHTED) or not found:
            found.append([])
        found[-1].append(step)
    last, count = len(found) - 1, towers(network)
    return [_block(steps, 1 if n == last else count, count, n) for n, steps in enumerate(found)]


def _block(steps: list[Traced], columns: int, count: int, number: int) -> Block:
    first = steps[0]
    pooled = [step.outputs for step in steps if len(step.outputs) == len(first.outputs)]
    said = (_in_words(step.row, count) for step in steps[1:])
    return Block(
        name=first.row.name,
        kernel=_kernel(first.row),
        columns=columns,
        exchange=count > 1 and number > 0 and _groups(first.row) == 1,
        made=_share(first.outputs, columns),
        out=_share(pooled[-1], columns),
        parameters=sum(step.parameters + step.buffers for step in steps) // columns,
        after=tuple(filter(None, said)),
    )


def _share(shape: Shape, columns: int) -> Shape:
    return shape[0] // columns, *shape[1:]


def _groups(row: Row) -> int:
    return row.groups if isinstance(row, rows.Conv) else getattr(row, "towers", 1)


def _kernel(row: Row) -> str:
    if not isinstance(row, rows.Window):
        return ""
    stride = f" / {row.stride}" if row.stride > 1 else ""
    return f"{row.kernel}x{row.kernel}{stride}"


def _in_words(row: Row, towers: int) -> str:
    """Write what a row without weights does, in a few letters; a flattening does nothing."""
    return WORDS[type(row)](row, towers) if type(row) in WORDS else ""


def _lrn(row: Row, towers: int) -> str:
    assert isinstance(row, rows.LRN)
    return f"LRN {row.size}{' across both' if row.towers < towers else ''}"


def _map_norm(row: Row, towers: int) -> str:
    assert isinstance(row, rows.MapNorm)
    return f"map norm {row.size}x{row.size}"


def _adaptive(row: Row, towers: int) -> str:
    assert isinstance(row, rows.AdaptiveAvgPool)
    return f"mean to {row.side}x{row.side}"


def _dropout(row: Row, towers: int) -> str:
    assert isinstance(row, rows.Dropout)
    return f"dropout {row.p:g}"


WORDS: dict[type[Row], Callable[[Row, int], str]] = {
    rows.ReLU: lambda row, towers: "ReLU",
    rows.BatchNorm: lambda row, towers: "batch norm",
    rows.MaxPool: lambda row, towers: f"max pool {_kernel(row)}",
    rows.AvgPool: lambda row, towers: f"mean pool {_kernel(row)}",
    rows.AdaptiveAvgPool: _adaptive,
    rows.LRN: _lrn,
    rows.MapNorm: _map_norm,
    rows.Dropout: _dropout,
}
