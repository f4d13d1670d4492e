"""A measured training step as the rows of a record."""

from __future__ import annotations

from alexnet.benchmark.record import Row, Spread
from alexnet.benchmark.step import StepSpeed


def step_rows(found: StepSpeed) -> list[Row]:
    """Return pictures a second, beside what the matrix rate of the same minute would make of them.

    ``n`` counts the rounds; minimum and maximum are those of the slowest and the fastest.
    """
    rates = [found.batch / s for s in (found.slowest, found.seconds, found.fastest)]
    low, middle, high = rates
    mean = (low + middle + high) / 3
    spread = Spread(found.rounds, low, middle, mean, high, Spread.of(rates).deviation)
    where = f"{found.network} at {found.size}, batch {found.batch}, {found.precision}"
    convolutions, compiled = found.computing["convolutions"], found.computing["compile"]
    how = convolutions if compiled == "no" else f"{convolutions}, compiled ({compiled})"
    more = {
        "step, ms": 1e3 * found.seconds,
        "TFLOP/s": found.step_flops / 1e12,
        "peak memory, MiB": found.peak_memory / 2**20,
    }
    row = Row(
        f"{where}, {found.optimizer}, {how}",
        "pictures/s",
        spread,
        "the matrix rate",
        found.share,
        more,
        headline=True,
    )
    return [row]
