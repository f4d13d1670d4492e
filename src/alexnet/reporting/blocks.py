"""A network's table gathered into blocks, to be drawn: each layer with weights and what follows it.

A branch of the table, from the row that reads an earlier one to the sum at its end, is one block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alexnet.models import rows, table, wiring
from alexnet.models.rows import Row, Shape
from alexnet.models.table import Network, Traced

WEIGHTED = (rows.Conv, rows.Local, rows.Dense)


@dataclass(frozen=True)
class Block:
    """One layer with weights and the rows behind it, as one of ``columns`` towers has it.

    ``made`` is the shape that the layer gives in one tower, ``out`` what the pools behind it leave.
    ``exchange``: it sees the maps of both towers. ``reads``: of a branch, the name of the block whose
    maps it takes besides those of the block before.
    """

    name: str
    kernel: str  # e.g. "11x11 / 4"; empty for a dense layer
    columns: int
    exchange: bool
    made: Shape
    out: Shape
    parameters: int
    after: tuple[str, ...]  # e.g. ("ReLU", "LRN 5", "max pool 3x3 / 2")
    reads: str = ""


def towers(network: Network) -> int:
    """Return the number of towers: the most groups that a row of the table has."""
    return max(table.towers_of(row) for row in network.rows)


def blocks(network: Network, size: int | None = None) -> list[Block]:
    """Gather a table into its blocks, in order. Raises ``TooSmall``."""
    found: list[list[Traced]] = []
    branching = False
    for step in table.trace(network, size):
        branching = branching or bool(step.row.reads)
        if step.row.reads or not found or (isinstance(step.row, WEIGHTED) and not branching):
            found.append([])
        found[-1].append(step)
        branching = branching and not isinstance(step.row, wiring.Add)
    last, count = len(found) - 1, towers(network)
    owners = {step.row.name: _weighted(steps).row.name for steps in found for step in steps}
    return [
        _block(steps, 1 if n == last else count, count, n, owners) for n, steps in enumerate(found)
    ]


def _weighted(steps: list[Traced]) -> Traced:
    """Return the row that a block is named after: the one with weights, else its sum, else its first."""
    sums = [step for step in steps if isinstance(step.row, wiring.Add)]
    return next((step for step in steps if isinstance(step.row, WEIGHTED)), (sums or steps)[0])


def _block(
    steps: list[Traced], columns: int, count: int, number: int, owners: dict[str, str]
) -> Block:
    first = _weighted(steps)
    pooled = [step.outputs for step in steps if len(step.outputs) == len(first.outputs)]
    said = (_in_words(step.row, count) for step in steps)
    return Block(
        name=first.row.name,
        kernel=_kernel(first.row),
        columns=columns,
        exchange=count > 1 and number > 0 and table.towers_of(first.row) == 1,
        made=_share(first.outputs, columns),
        out=_share(pooled[-1], columns),
        parameters=sum(step.parameters + step.buffers for step in steps) // columns,
        after=tuple(filter(None, said)),
        reads=owners.get(steps[0].row.reads, ""),
    )


def _share(shape: Shape, columns: int) -> Shape:
    return shape[0] // columns, *shape[1:]


def _kernel(row: Row) -> str:
    if not isinstance(row, rows.Window):
        return ""
    stride = f" / {row.stride}" if row.stride > 1 else ""
    return f"{row.kernel}x{row.kernel}{stride}"


def _in_words(row: Row, towers: int) -> str:
    """Write what a row without weights does, in a few letters; a flattening does nothing."""
    said = WORDS[type(row)](row, towers) if type(row) in WORDS else ""
    return " ".join(filter(None, (said, row.reads and f"of {row.reads}")))


def _lrn(row: Row, towers: int) -> str:
    assert isinstance(row, rows.LRN)
    return f"LRN {row.size}{' across both' if row.towers < towers else ''}"


def _map_norm(row: Row, towers: int) -> str:
    assert isinstance(row, rows.MapNorm)
    return f"map norm {row.size}x{row.size}"


def _adaptive(row: Row, towers: int) -> str:
    assert isinstance(row, rows.AdaptiveAvgPool)
    return f"mean to {row.side}x{row.side}"


def _add(row: Row, towers: int) -> str:
    assert isinstance(row, wiring.Add)
    return f"plus {row.other}"


def _dropout(row: Row, towers: int) -> str:
    assert isinstance(row, rows.Dropout)
    return f"dropout {row.p:g}"


WORDS: dict[type[Row], Callable[[Row, int], str]] = {
    rows.ReLU: lambda row, towers: "ReLU",
    rows.GELU: lambda row, towers: "GELU",
    rows.BatchNorm: lambda row, towers: "batch norm",
    rows.MaxPool: lambda row, towers: f"max pool {_kernel(row)}",
    rows.AvgPool: lambda row, towers: f"mean pool {_kernel(row)}",
    rows.AdaptiveAvgPool: _adaptive,
    rows.LRN: _lrn,
    rows.MapNorm: _map_norm,
    rows.Dropout: _dropout,
    wiring.Add: _add,
}
