"""A training step of any network next to the matrix rate of the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from alexnet.benchmark.record import Row, Spread
from alexnet.benchmark.subject import Subject
from alexnet.errors import UsageError
from alexnet.models import table
from alexnet.run.device import Device, environment, peak_memory
from alexnet.run.stamp import commit, today

AT_ONCE = 10  # steps of a round on a GPU, which is told of the next one while it takes one


@dataclass(frozen=True)
class StepSpeed:
    """One measurement. Rates in pictures/s and FLOP/s, times in seconds, memory in bytes."""

    network: str
    size: int
    batch: int
    precision: str
    device: str  # the hardware's name
    times: tuple[float, ...]  # of a step, one a round
    images_per_second: float
    step_flops: float
    matrix_rate: float  # mean of the medians before and after
    share: float  # step_flops / matrix_rate
    peak_memory: int
    optimizer: str
    computing: dict[str, Any]  # what run.computing decided for the device
    environment: dict[str, Any]
    commit: str
    date: str

    @property
    def seconds(self) -> float:
        """Return the time of a step, the median of the rounds."""
        return statistics.median(self.times)

    @property
    def fastest(self) -> float:
        """Return the least of the rounds."""
        return min(self.times)

    @property
    def slowest(self) -> float:
        """Return the most of the rounds."""
        return max(self.times)

    def to_json(self) -> dict[str, Any]:
        """Return what ``bench step --json`` prints: of the times, their number and three of them."""
        found = asdict(self)
        del found["times"]
        told = {name: getattr(self, name) for name in ("seconds", "fastest", "slowest")}
        return {**found, "rounds": len(self.times), **told}


def step_speed(
    network: str,
    device: Device,
    *,
    batch: int = 128,
    size: int | None = None,
    rounds: int = 7,
    optimizer: str = "sgd",
    convolutions: str = "auto",
    compiled: bool = False,
) -> StepSpeed:
    """Time the training step of a network on random pictures: forward, backward and update.

    ``compiled``: as a run with ``train.compile`` takes it. The share sets 6 x multiply-adds x pictures/s beside the matrix rate measured just before and
    just after. Raises ``UsageError`` for a batch or a number of rounds below 1.
    """
    if batch < 1 or rounds < 1:
        raise UsageError(f"batch and rounds must be at least 1, got {batch} and {rounds}")
    how: dict[str, Any] = {"batch": batch, "size": size, "optimizer": optimizer}
    subject = Subject(network, device, **how, convolutions=convolutions, compiled=compiled)
    plan, model, step = subject.network, subject.model, subject.step
    subject.warm_up()
    before = device.matrix_rate()
    times = tuple(timed(step, device) for _ in range(rounds))
    rate = (before + device.matrix_rate()) / 2
    median = statistics.median(times)
    flops = 2.0 * table.totals(table.trace(plan, model.size)).training_multiply_adds * batch
    return StepSpeed(
        network=network,
        size=model.size,
        batch=batch,
        precision=device.precision,
        device=environment(device)["hardware"],
        times=times,
        images_per_second=batch / median,
        step_flops=flops / median,
        matrix_rate=rate,
        share=flops / median / rate,
        peak_memory=_peak(device),
        optimizer=optimizer,
        computing=subject.computing.to_json(),
        environment=environment(device),
        commit=commit(),
        date=today(),
    )


def timed(step: Callable[[], object], device: Device) -> float:
    """Return the seconds of a step; on a GPU the mean of several, between which no run waits either."""
    steps = 1 if device.torch.type == "cpu" else AT_ONCE
    device.synchronise()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    device.synchronise()
    return (time.perf_counter() - start) / steps


def _peak(device: Device) -> int:
    if device.torch.type == "cuda":
        return torch.cuda.max_memory_allocated(device.torch)
    return peak_memory()


def step_text(found: StepSpeed) -> str:
    """Write one measurement for a terminal."""
    return (
        f"{found.network} at {found.size}x{found.size}, batch {found.batch}, {found.precision}, on "
        f"{found.device}, convolutions {found.computing['convolutions']}, compiled: "
        f"{found.computing['compile']}\n"
        f"  step           {found.seconds * 1e3:.0f} ms (median of {len(found.times)}; "
        f"{found.fastest * 1e3:.0f} to {found.slowest * 1e3:.0f})\n"
        f"  images/s       {found.images_per_second:.1f}\n"
        f"  training rate  {found.step_flops / 1e12:.3f} TFLOP/s\n"
        f"  matrix rate    {found.matrix_rate / 1e12:.3f} TFLOP/s, measured just before and after\n"
        f"  share          {found.share:.2f} of the matrix rate\n"
        f"  peak memory    {found.peak_memory / 2**20:.0f} MiB"
    )


def step_rows(found: StepSpeed) -> list[Row]:
    """Return pictures a second, beside what the matrix rate of the same minute would make of them."""
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
        Spread.of(found.batch / s for s in found.times),
        "the matrix rate",
        found.share,
        more,
        headline=True,
    )
    return [row]
