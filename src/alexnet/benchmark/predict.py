"""The time of a training step from two numbers: the matrix rate and the memory rate of the hardware.

Products take their floating-point operations over the matrix rate; all else takes its bytes, counted
below pass by pass, over the memory rate. docs/speed.md derives the counts. Nothing here runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from alexnet.errors import UnknownName, UsageError
from alexnet.models import kernels, rows, table
from alexnet.models.kernels.response_norm import BETA
from alexnet.models.table import Network, Traced

# Reading or writing one value once is a pass. Values that enter, values that leave, and what is not
# of the network's own width: bytes for each value that leaves.
Passes = tuple[float, float, float]
NORM = 8.0  # forward: two to read, one to write; backward: the gradient and the input twice, one to write
RELU = 5.0  # in place forward: one to read, one to write; backward: two to read, one to write
MASK = 2 + 2 + 1 + 1  # bytes of a dropout mask: 16 random bits out and in, a byte out and in
ONE_PASS = (
    5.0  # of response norm by its kernel: one to read, one to write; two to read, one to write
)
LANES = 8  # values in a vector of the processor that fewer multiplications are predicted for
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


def kind_of(row: rows.Row) -> str:
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


@dataclass(frozen=True)
class Prediction:
    """A step's costs, and the seconds that two rates make of them. Rates in FLOP/s and bytes/s."""

    network: str
    size: int
    batch: int
    precision: str
    optimizer: str
    convolutions: str  # direct or winograd
    matrix_rate: float
    memory_rate: float
    flops: float  # of the definition, whatever is multiplied in fact
    costs: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """Return the predicted time of a step: the least that the hardware could do it in."""
        return sum(self._seconds(cost) for cost in self.costs)

    @property
    def share(self) -> float:
        """Return the predicted share of the matrix rate."""
        return self.flops / self.matrix_rate / self.seconds

    def _seconds(self, cost: Cost) -> float:
        return cost.seconds(self.matrix_rate, self.memory_rate)

    def by_kind(self) -> dict[str, float]:
        """Return the predicted seconds of each kind of work, the longest first."""
        found: dict[str, float] = defaultdict(float)
        for cost in self.costs:
            found[cost.kind] += self._seconds(cost)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a record."""
        return {**asdict(self), "seconds": self.seconds, "share": self.share}


def predict(
    network: Network,
    *,
    batch: int,
    size: int | None = None,
    precision: str = "float32",
    optimizer: str = "sgd",
    matrix_rate: float,
    memory_rate: float,
    convolutions: str = "direct",
) -> Prediction:
    """Predict a step of ``batch`` pictures from the two rates, FLOP/s and bytes/s read and written.

    ``convolutions``: ``direct``, or ``winograd`` for the kernels of ``models.kernels``, in float32.
    Raises ``UsageError`` for a batch or a rate that is not above 0, ``UnknownName`` for a rule.
    """
    if batch < 1 or not min(matrix_rate, memory_rate) > 0:
        raise UsageError(
            f"batch, matrix rate and memory rate must be above 0: {batch}, {matrix_rate:g}, {memory_rate:g}"
        )
    if optimizer not in UPDATES:
        raise UnknownName("optimizer", optimizer, UPDATES)
    side = network.size if size is None else size
    width = 2 if precision == "bf16" else 4
    traced = table.trace(network, side)
    direct = [cost(step, batch, width) for step in traced]
    minimal = convolutions == "winograd"
    costs = [fewer(step, batch) for step in traced] if minimal else direct
    each = UPDATES[optimizer] + (CASTS if width == 2 else 0)
    update = Cost("update", "update", 0.0, float(each * table.totals(traced).trainable))
    work = sum(each.flops for each in direct)
    how = (precision, optimizer, convolutions, matrix_rate, memory_rate, work)
    return Prediction(network.name, side, batch, *how, (*costs, update))


def cost(step: Traced, batch: int, width: int) -> Cost:
    """Count a row's operations and bytes for ``batch`` pictures whose values have ``width`` bytes."""
    flops = 2.0 * batch * step.multiply_adds * step.passes
    enter, leave, other = _PASSES.get(type(step.row), _once)(step.row)
    values = enter * math.prod(step.inputs) + leave * math.prod(step.outputs)
    moved = batch * (values * width + other * math.prod(step.outputs))
    if step.multiply_adds:  # its weights: read forward, read backward, their gradient written
        moved += 3.0 * width * step.parameters
    return Cost(step.row.name, kind_of(step.row), flops, moved)


def fewer(step: Traced, batch: int) -> Cost:
    """Count what the kernels of ``models.kernels`` ask for in float32: ``cost``, where they have none.

    The transforms' own operations, on tiles that stay in the cache, are not counted.
    """
    row, found = step.row, cost(step, batch, 4)
    if isinstance(row, rows.LRN) and row.beta == BETA:
        return replace(found, bytes=4.0 * batch * ONE_PASS * math.prod(step.outputs))
    if not isinstance(row, rows.Conv):
        return found
    parts = (step.inputs[0] // row.groups, row.channels // row.groups)
    sides = (step.outputs[1], step.outputs[2])
    times = kernels.times_fewer(*parts, row.kernel, row.stride, sides, LANES)
    return replace(found, flops=found.flops / times)


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


def prediction_text(found: Prediction, measured: float | None = None) -> str:
    """Write a prediction for a terminal, beside the measured seconds of a step where there are some."""
    lines = [
        f"{found.network} at {found.size}x{found.size}, batch {found.batch}, {found.precision}, "
        f"{found.optimizer}, convolutions {found.convolutions}: predicted from {found.matrix_rate / 1e12:.3f} TFLOP/s and "
        f"{found.memory_rate / 1e9:.1f} GB/s"
    ]
    lines += [f"  {kind:<15}{1e3 * seconds:>9.1f} ms" for kind, seconds in found.by_kind().items()]
    lines += [
        f"  {'step, at best':<15}{1e3 * found.seconds:>9.1f} ms, "
        f"{found.batch / found.seconds:.1f} images/s, share {found.share:.2f}"
    ]
    if measured is not None:
        lines += [
            f"  {'measured':<15}{1e3 * measured:>9.1f} ms, {measured / found.seconds:.2f} of that"
        ]
    return "\n".join(lines)
