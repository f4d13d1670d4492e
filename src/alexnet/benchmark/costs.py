"""What a row asks of the hardware in a step of training: operations, and bytes pass by pass.

docs/speed.md derives the counts. Nothing here runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from alexnet.models import kernels, rows
from alexnet.models.kernels.response_norm import BETA
from alexnet.models.table import Traced

# Reading or writing one value once is a pass. Values that enter, values that leave, and what is not
# of the network's own width: bytes for each value that leaves.
Passes = tuple[float, float, float]
NORM = 8.0  # forward: two to read, one to write; backward: the gradient and the input twice, one to write
RELU = 5.0  # in place forward: one to read, one to write; backward: two to read, one to write
MASK = 2 + 2 + 1 + 1  # bytes of a dropout mask: 16 random bits out and in, a byte out and in
NORM_ONE_PASS = (
    5.0  # of response norm by its kernel: one to read, one to write; two to read, one to write
)
# What channels must be multiples of, by the bytes of a value, on a processor that fewer multiplications are predicted for:
# any with vectors of eight in float32; one of AVX-512 in bf16.
LANES = {4: 8, 2: 16}
BF16 = 2.2  # times as fast as float32's are bf16 products by avx512_bf16 (two Zen 4 cores)
INDEX = 8  # bytes that a maximum's place is kept in

KINDS = {  # of work, by the kind of row
    "Conv2D": "convolution",
    "LocallyConnected2D": "convolution",
    "Dense": "dense product",
    "BatchNormalization": "norm",
    "LRN": "norm",
    "MapNorm": "norm",
    "ReLU": "ReLU",
    "GELU": "GELU",
    "MaxPooling2D": "pool",
    "AveragePooling2D": "pool",
    "AdaptiveAveragePooling2D": "pool",
    "Dropout": "dropout",
}
UPDATES = {  # bytes of memory for each weight: how often weight, gradient and memory pass, times four
    "sgd": 20,
    "adam": 28,
    "keras-adam": 28,
    "keras-sgd": 52,
    "2012": 52,
    "muon": 52,
    "rmsprop": 64,
}
CASTS = 12  # bytes of a weight that is rounded to bf16, and of its gradient that is widened


def kind_of_work(row: rows.Row) -> str:
    """Return the kind of work that a row is: one of ``KINDS``, or ``other``."""
    return KINDS.get(row.kind, "other")


@dataclass(frozen=True)
class Cost:
    """What one row, or the update, asks of the hardware in one step of training."""

    name: str
    kind: str
    flops: float
    bytes: float

    def seconds(self, matrix_rate: float, memory_rate: float) -> float:
        """Return the longer of the two: while products are computed, their operands travel."""
        return max(self.flops / matrix_rate, self.bytes / memory_rate)


def cost(step: Traced, batch: int, width: int) -> Cost:
    """Count a row's operations and bytes for ``batch`` pictures whose values have ``width`` bytes."""
    flops = 2.0 * batch * step.multiply_adds * step.passes
    enter, leave, other = _PASSES.get(type(step.row), _once)(step.row)
    values = enter * math.prod(step.inputs) + leave * math.prod(step.outputs)
    moved = batch * (values * width + other * math.prod(step.outputs))
    if step.multiply_adds:  # its weights: read forward, read backward, their gradient written
        moved += 3.0 * width * step.parameters
    return Cost(step.row.name, kind_of_work(step.row), flops, moved)


def fewer(step: Traced, batch: int, width: int) -> Cost:
    """Count what the kernels of ``models.kernels`` ask for: ``cost``, where they have none.

    The transforms' own operations, on tiles that stay in the cache, are not counted. Operations are of the rate of
    products whose values have ``width`` bytes: those in float32 that stand for bf16 ones count ``BF16`` times.
    """
    row, found, narrow = step.row, cost(step, batch, width), width == 2
    if isinstance(row, rows.LRN) and row.beta == BETA:
        return replace(found, bytes=float(width) * batch * NORM_ONE_PASS * math.prod(step.outputs))
    if not isinstance(row, rows.Conv):
        return found
    parts = (step.inputs[0] // row.groups, row.channels // row.groups)
    sides = (step.outputs[1], step.outputs[2])
    times = kernels.times_fewer(
        *(*parts, row.kernel, row.stride, sides, LANES[width]), padding=row.padding, narrow=narrow
    )
    each = BF16 if narrow and times > 1 else 1.0
    return replace(found, flops=found.flops * each / times)


def _once(row: rows.Row) -> Passes:
    """Of a row that only rearranges: what enters is read and what leaves is written, both ways."""
    return 2.0, 2.0, 0.0


def _response_norm(row: rows.Row) -> Passes:
    """In float32 whatever the width: 18 passes forward, 18 backward, 7 and 3 a neighbour for two windows."""
    assert isinstance(row, rows.LRN)
    return 0.0, 0.0, 4.0 * (36 + 2 * (4 + 3 * (row.size - 1)))


_PASSES: dict[type[rows.Row], Callable[[rows.Row], Passes]] = {
    # Products: forward in and out; backward the gradient twice, the input, and its gradient.
    rows.Conv: lambda row: (3.0, 3.0, 0.0),
    rows.Local: lambda row: (3.0, 3.0, 0.0),
    rows.Dense: lambda row: (3.0, 3.0, 0.0),
    rows.BatchNorm: lambda row: (0.0, NORM, 0.0),
    rows.ReLU: lambda row: (0.0, RELU, 0.0),
    rows.GELU: lambda row: (0.0, RELU, 0.0),  # not in place, but as often read and written
    # Forward: what enters is read, a maximum and its place written; backward the same way round.
    rows.MaxPool: lambda row: (2.0, 2.0, 2.0 * INDEX),
    rows.AvgPool: lambda row: (2.0, 2.0, 0.0),
    rows.AdaptiveAvgPool: lambda row: (2.0, 2.0, 0.0),
    rows.Dropout: lambda row: (0.0, 7.0, float(MASK)),
    rows.LRN: _response_norm,
    rows.MapNorm: lambda row: (0.0, 0.0, 4.0 * 30),
}
