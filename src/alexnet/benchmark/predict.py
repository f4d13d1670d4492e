"""The time of a training step from two numbers: the matrix rate and the memory rate of the hardware.

Products take their floating-point operations over the matrix rate; all else takes its bytes, counted
pass by pass (``costs``, ``fused_costs``), over the memory rate. docs/speed.md derives the counts. Nothing here runs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from alexnet.benchmark import fused_costs
from alexnet.benchmark.costs import CASTS, UPDATES, Cost, cost, fewer
from alexnet.errors import UnknownName, UsageError
from alexnet.models import table
from alexnet.models.table import Network, Traced
from alexnet.training.fused_update import ONE_PASS
from alexnet.training.optim import WEIGHT_BY_WEIGHT


@dataclass(frozen=True)
class Prediction:
    """A step's costs, and the seconds that two rates make of them. Rates in FLOP/s and bytes/s."""

    network: str
    size: int
    batch: int
    precision: str
    optimizer: str
    convolutions: str  # direct or winograd
    fused: str  # one pass or apart, as ``run.computing`` says
    update: str  # one pass or torch, likewise
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
        for each in self.costs:
            found[each.kind] += self._seconds(each)
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
    fused: str = "apart",
    update: str = "torch",
) -> Prediction:
    """Predict a step of ``batch`` pictures from the two rates, FLOP/s and bytes/s read and written.

    ``convolutions``: ``direct``, or ``winograd`` for the kernels of ``models.kernels``.
    ``fused``, ``update``: as ``run.computing`` decides; ``one pass`` is what is predicted apart from torch's.
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
    costs = _rows(traced, batch, width, convolutions, fused)
    costs += [Cost("update", "update", 0.0, _update(traced, optimizer, width, update))]
    work = sum(cost(step, batch, width).flops for step in traced)
    how = (precision, optimizer, convolutions, fused, update, matrix_rate, memory_rate, work)
    return Prediction(network.name, side, batch, *how, tuple(costs))


def update_of(fused: bool, precision: str, optimizer: str) -> str:
    """Say how other hardware moves weights: as ``fused_update.way`` would on one like it."""
    return ONE_PASS if fused and precision == "bf16" and optimizer in WEIGHT_BY_WEIGHT else "torch"


def _rows(
    traced: list[Traced], batch: int, width: int, convolutions: str, fused: str
) -> list[Cost]:
    if fused == ONE_PASS:
        return fused_costs.costs(traced, batch, width)
    if convolutions == "winograd":
        return [fewer(step, batch, width) for step in traced]
    return [cost(step, batch, width) for step in traced]


def _update(traced: list[Traced], optimizer: str, width: int, how: str) -> float:
    if how == ONE_PASS:
        return fused_costs.update(traced, optimizer)
    each = UPDATES[optimizer] + (CASTS if width == 2 else 0)
    return float(each * table.totals(traced).trainable)


def prediction_text(found: Prediction, measured: float | None = None) -> str:
    """Write a prediction for a terminal, beside the measured seconds of a step where there are some."""
    lines = [
        f"{found.network} at {found.size}x{found.size}, batch {found.batch}, {found.precision}, "
        f"{found.optimizer}, fused {found.fused}, update {found.update}, convolutions {found.convolutions}: predicted from {found.matrix_rate / 1e12:.3f} TFLOP/s and "
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
