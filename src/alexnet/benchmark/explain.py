"""A training step explained: its parts, and what two rates of the hardware say it should take."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from alexnet.benchmark.parts import Parts, parts_text, take_apart
from alexnet.benchmark.predict import Prediction, predict, prediction_text, update_of
from alexnet.benchmark.step import timed
from alexnet.benchmark.subject import Subject
from alexnet.errors import UsageError
from alexnet.models import zoo
from alexnet.run.device import Device
from alexnet.training.fused_update import ONE_PASS


@dataclass(frozen=True)
class Explained:
    """What was asked for; ``measured``: seconds of a step here, None where no step was taken."""

    parts: Parts | None
    prediction: Prediction | None
    measured: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "parts": None if self.parts is None else self.parts.to_json(),
            "prediction": None if self.prediction is None else self.prediction.to_json(),
            "measured": self.measured,
        }

    def text(self) -> str:
        """Write it for a terminal."""
        found = [] if self.parts is None else [parts_text(self.parts)]
        if self.prediction is not None:
            found += [prediction_text(self.prediction, self.measured)]
        return "\n".join(found)


def explain(
    network: str,
    device: Device,
    *,
    batch: int,
    size: int | None,
    rounds: int,
    optimizer: str,
    parts: bool,
    predicts: bool,
    convolutions: str = "auto",
    compiled: bool = False,
    rates: tuple[float | None, float | None] = (None, None),
    fused: bool = False,
) -> Explained:
    """Take a step apart, or predict it, or both, as ``parts`` and ``predicts`` say.

    ``rates``: matrix and memory rate of other hardware, for which the step is then predicted and
    nothing is measured; else both are measured here, just before and just after the steps.
    ``convolutions``: as the recipe key; a prediction for other hardware takes ``auto`` for ``direct``.
    ``compiled``: as the recipe's ``train.compile``. ``fused``: the other hardware is a GPU with the
    kernels of ``models.fused``; here that is as a run decides. Raises ``UsageError`` for one rate without
    the other, parts of a compiled step, ``fused`` where it cannot be, or counts below 1.
    """
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, got {rounds}")
    if parts and compiled:
        raise UsageError("a compiled step has no parts to time; leave out --compile or --parts")
    what: dict[str, Any] = {"batch": batch, "size": size, "optimizer": optimizer}
    for_other = _both(rates)
    if fused and (not predicts or not for_other or compiled or convolutions == "winograd"):
        raise UsageError(
            "--fused predicts for a GPU that is not here: give it with --predict, --matrix-rate and "
            "--memory-rate, without --compile and --convolutions winograd"
        )
    subject = None
    if parts or not for_other:
        subject = Subject(
            network, device, **what, convolutions=convolutions, compiled=compiled, apart=parts
        )
    measured, own = (None, for_other) if for_other or not subject else _time(subject, rounds)
    taken = take_apart(subject, rounds) if parts and subject else None
    if not predicts or own is None:
        return Explained(taken, None, measured)
    matrix, memory = own
    plan, how = zoo.network(network), device.precision
    if subject and not for_other:
        told = subject.computing
        what |= _told(told.convolutions, told.fused, told.update)
    else:
        what |= _told(
            convolutions, ONE_PASS if fused else "apart", update_of(fused, how, optimizer)
        )
    step = predict(plan, **what, precision=how, matrix_rate=matrix, memory_rate=memory)
    return Explained(taken, step, measured)


def _told(convolutions: str, fused: str, update: str) -> dict[str, str]:
    """Return what a prediction has to know of how a step is computed."""
    kind = "winograd" if convolutions == "winograd" else "direct"
    return {"convolutions": kind, "fused": fused, "update": update}


def _both(rates: tuple[float | None, float | None]) -> tuple[float, float] | None:
    matrix, memory = rates
    if matrix is None and memory is None:
        return None
    if matrix is None or memory is None:
        raise UsageError("--matrix-rate and --memory-rate belong together; give both or neither")
    return matrix, memory


def _time(subject: Subject, rounds: int) -> tuple[float, tuple[float, float]]:
    """Return the median seconds of a step, and the rates of matrix and memory around it."""
    subject.warm_up()
    device = subject.device
    rates = [(device.matrix_rate(), device.memory_rate())]
    seconds = [timed(subject.step, device) for _ in range(rounds)]
    rates += [(device.matrix_rate(), device.memory_rate())]
    matrix, memory = (statistics.fmean(each) for each in zip(*rates, strict=True))
    return statistics.median(seconds), (matrix, memory)
