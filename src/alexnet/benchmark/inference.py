"""One network in every form that can run it, on the same pictures, with the same answers."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from alexnet.benchmark.forms import Absent, Form, forms
from alexnet.benchmark.record import Row, Spread
from alexnet.data import shapes
from alexnet.errors import UsageError
from alexnet.run.classifier import Classifier
from alexnet.run.device import Device

SIZES = (1, 128)


@dataclass(frozen=True)
class Timed:
    """One form at one batch size: seconds of each call, and its answers to one batch."""

    seconds: tuple[float, ...]
    probabilities: Tensor  # float32 (N, classes)


def inference_rows(
    model: Classifier,
    device: Device,
    *,
    sizes: Sequence[int] = SIZES,
    rounds: int = 20,
) -> list[Row]:
    """Time the forward pass of a network in every form, at each batch size.

    The pictures are drawn (``data.shapes``) and preprocessed once, outside the clock. The last form
    is the first again: how far its ratio is from 1 is how far the machine drifted. A form that is
    not here is a row that says so. Raises ``UsageError`` for a size or a number of rounds below 1.
    """
    if not sizes or min(*sizes, rounds) < 1:
        raise UsageError(f"batch sizes and rounds must be at least 1, got {list(sizes)}, {rounds}")
    found = []
    with TemporaryDirectory() as folder:
        module = model.module.to(device.torch)
        made = list(forms(module, device, Path(folder)))
        for size in sizes:
            found += _at(size, made, _pictures(model, device, size), rounds)
    return found


def _pictures(model: Classifier, device: Device, count: int) -> Tensor:
    """Return what the network sees of drawn pictures: float32 ``(N, 3, size, size)``."""
    side = max(shapes.SMALLEST, model.preprocessing.picture_size)
    drawn = torch.from_numpy(shapes.draw(count, size=side).images)
    return model.preprocessing(drawn.to(device.torch))


def _at(size: int, made: Sequence[Form | Absent], x: Tensor, rounds: int) -> list[Row]:
    first: tuple[Row, Timed] | None = None
    rows = []
    for form in made:
        if isinstance(form, Absent):
            rows.append(
                Row(_name(form.name, size), beside=_name(made[0].name, size), note=form.why)
            )
            continue
        try:
            timed, warm_up = _timed(form, x, rounds)
        except form.faults as error:
            why = f"{form.name} cannot run this network here: {_first_line(error)}"
            rows.append(Row(_name(form.name, size), beside=_name(made[0].name, size), note=why))
            continue
        row = _row(form.name, size, timed, warm_up)
        first = first or (row, timed)
        compared = _compared(row, timed, *first)
        rows.append(replace(compared, headline=size > 1 and row is not first[0]))
    return rows


def _name(form: str, size: int) -> str:
    return f"{form}, batch {size}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _timed(form: Form, x: Tensor, rounds: int) -> tuple[Timed, float]:
    """Run a form ``rounds`` times; also returns the seconds of its first call, which is not timed."""
    start = time.perf_counter()
    form.run(x)
    warm_up = time.perf_counter() - start
    form.run(x)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        answers = form.run(x)
        seconds.append(time.perf_counter() - start)
    return Timed(tuple(seconds), answers.float().softmax(1)), warm_up


def _row(form: str, size: int, timed: Timed, warm_up: float) -> Row:
    latency = {
        "latency, ms": 1e3 * statistics.median(timed.seconds),
        "p95, ms": 1e3 * percentile(timed.seconds, 0.95),
        "first call, s": warm_up,
    }
    rates = Spread.of(size / s for s in timed.seconds)
    return Row(_name(form, size), "pictures/s", rates, more=latency)


def _compared(row: Row, timed: Timed, peer: Row, other: Timed) -> Row:
    a, b = timed.probabilities, other.probabilities
    same = (a.argmax(1) == b.argmax(1)).float().mean().item()
    answers = {"largest difference": (a - b).abs().max().item(), "same top-1": f"{same:.1%}"}
    return replace(row.over(peer), more={**row.more, **answers})


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest of the values that at least ``share`` of them do not exceed."""
    found = sorted(values)
    return found[max(0, math.ceil(share * len(found)) - 1)]
