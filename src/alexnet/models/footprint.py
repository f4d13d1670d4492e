"""What a picture's activations take in memory, from the table alone. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from alexnet.models import rows, wiring
from alexnet.models.rows import Row
from alexnet.models.table import Traced

WIDE, INDEX = 4, 8  # bytes of a float32, and of a maximum's place

# Rows whose backward pass reads what entered them.
READS_INPUT = (
    rows.Window,
    rows.AdaptiveAvgPool,
    rows.BatchNorm,
    rows.LRN,
    rows.MapNorm,
    rows.GELU,
    rows.Dense,
)


def kept(
    steps: Iterable[Traced], frozen: frozenset[str], first: int, value: int, *, chain: bool
) -> int:
    """Return the bytes that one picture's forward pass keeps for the backward pass.

    ``value``: bytes of an activation, 2 for bf16. ``first``: the row that a step begins with.
    ``chain``: no row is read twice, so that a ReLU overwrites what entered it. What torch's operators
    keep, each map once; their workspaces, which differ from machine to machine, are not counted.
    """
    trained: set[str] = set()  # rows through whose output a gradient flows
    maps: dict[str, int] = {}  # row whose output is kept -> bytes
    beside = 0
    at, size = {wiring.PICTURE: wiring.PICTURE}, {}  # row -> whose memory its output lies in
    for n, step in enumerate(steps):
        row, source = step.row, at.get(step.reads[0], step.reads[0])
        if n == 0:
            size[wiring.PICTURE] = math.prod(step.inputs) * value
        at[row.name] = source if chain and isinstance(row, rows.ReLU) and n >= first else row.name
        size.setdefault(at[row.name], math.prod(step.outputs) * value)
        learns = step.parameters > 0 and row.name not in frozen
        if n < first or not (learns or trained & set(step.reads)):
            continue
        trained.add(row.name)
        holds = isinstance(row, rows.Conv | rows.Dense | rows.Local)
        if isinstance(row, rows.ReLU):
            maps[at[row.name]] = size[at[row.name]]
        elif isinstance(row, READS_INPUT) and (learns or not holds):
            maps[source] = size.get(source, math.prod(step.inputs) * value)
        beside += BESIDE[type(row)](step, value) if type(row) in BESIDE else 0
    return sum(maps.values()) + beside


def _patches(step: Traced, value: int) -> int:
    row = step.row
    assert isinstance(row, rows.Local)
    return math.prod(step.outputs[1:]) * step.inputs[0] * row.kernel**2 * value


# What a row's operators keep besides maps.
BESIDE: dict[type[Row], Callable[[Traced, int], int]] = {
    rows.MaxPool: lambda step, value: math.prod(step.outputs) * INDEX,
    rows.Dropout: lambda step, value: math.prod(step.outputs) * value,
    rows.LRN: lambda step, value: 2 * math.prod(step.inputs) * WIDE,
    rows.MapNorm: lambda step, value: 3 * math.prod(step.inputs) * WIDE,
    rows.Local: _patches,
}


def passing(steps: Iterable[Traced], value: int) -> int:
    """Return the bytes that one picture's forward pass needs at most where nothing is kept.

    That is the largest sum of what enters and leaves one row.
    """
    sizes = (
        math.prod(step.inputs) + math.prod(step.outputs) + sum(map(math.prod, step.beside))
        for step in steps
    )
    return max(sizes, default=0) * value
