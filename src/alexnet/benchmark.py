"""Speed beside its limit: a training step next to the matrix rate, the intake next to bare Pillow."""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from alexnet.data import folders
from alexnet.data.intake import Plan, take_in
from alexnet.data.listing import Entry, Listing, Supply
from alexnet.errors import UsageError
from alexnet.models import table, zoo
from alexnet.models.build import build
from alexnet.recipe import check
from alexnet.run.device import Device, environment, peak_memory
from alexnet.training import optim
from alexnet.training.record import commit, today


@dataclass(frozen=True)
class StepSpeed:
    """One measurement. Rates in pictures/s and FLOP/s, times in seconds, memory in bytes."""

    network: str
    size: int
    batch: int
    precision: str
    device: str
    rounds: int
    seconds: float  # a step, median
    fastest: float
    slowest: float
    images_per_second: float
    step_flops: float
    matrix_rate: float  # mean of the medians before and after
    share: float  # step_flops / matrix_rate
    peak_memory: int
    optimizer: str
    environment: dict[str, Any]
    commit: str
    date: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, to be kept as a record under ``benchmarks/``."""
        return asdict(self)


def step_speed(
    network: str,
    device: Device,
    *,
    batch: int = 128,
    size: int | None = None,
    rounds: int = 7,
    optimizer: str = "sgd",
) -> StepSpeed:
    """Time the training step of a network on random pictures: forward, backward and update.

    The share sets 6 x multiply-adds x pictures/s beside the matrix rate measured just before and
    just after. Raises ``UsageError`` for a batch or a number of rounds below 1.
    """
    if batch < 1 or rounds < 1:
        raise UsageError(f"batch and rounds must be at least 1, got {batch} and {rounds}")
    plan = zoo.network(network)
    model = build(plan, size).to(device.torch, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rule = {"name": "bench", "summary": "", "optim": {"name": optimizer, "lr": 1e-4}}
    updates = optim.make(model.train(), check(rule, origin="bench").optim)
    x = torch.rand(batch, 3, model.size, model.size, device=device.torch)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device.torch) % plan.classes

    def step() -> None:
        with device.autocast():
            logits = model(x)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        updates.step()
        updates.zero_grad(set_to_none=True)

    for _ in range(2):  # memory is mapped and kernels are chosen in the first two
        step()
    before = device.matrix_rate()
    seconds = [_timed(step, device) for _ in range(rounds)]
    rate = (before + device.matrix_rate()) / 2
    median = statistics.median(seconds)
    flops = 2.0 * table.totals(table.trace(plan, model.size)).training_multiply_adds * batch
    return StepSpeed(
        network=network,
        size=model.size,
        batch=batch,
        precision=device.precision,
        device=environment(device)["hardware"],
        rounds=rounds,
        seconds=median,
        fastest=min(seconds),
        slowest=max(seconds),
        images_per_second=batch / median,
        step_flops=flops / median,
        matrix_rate=rate,
        share=flops / median / rate,
        peak_memory=_peak(device),
        optimizer=optimizer,
        environment=environment(device),
        commit=commit(),
        date=today(),
    )


def _timed(step: Any, device: Device) -> float:
    device.synchronise()
    start = time.perf_counter()
    step()
    device.synchronise()
    return time.perf_counter() - start


def _peak(device: Device) -> int:
    if device.torch.type == "cuda":
        return torch.cuda.max_memory_allocated(device.torch)
    return peak_memory()


def step_text(found: StepSpeed) -> str:
    """Write one measurement for a terminal."""
    return (
        f"{found.network} at {found.size}x{found.size}, batch {found.batch}, {found.precision}, on "
        f"{found.device}\n"
        f"  step           {found.seconds * 1e3:.0f} ms (median of {found.rounds}; "
        f"{found.fastest * 1e3:.0f} to {found.slowest * 1e3:.0f})\n"
        f"  images/s       {found.images_per_second:.1f}\n"
        f"  training rate  {found.step_flops / 1e12:.3f} TFLOP/s\n"
        f"  matrix rate    {found.matrix_rate / 1e12:.3f} TFLOP/s, measured just before and after\n"
        f"  share          {found.share:.2f} of the matrix rate\n"
        f"  peak memory    {found.peak_memory / 2**20:.0f} MiB"
    )


@dataclass(frozen=True)
class IntakeSpeed:
    """Pictures a second of one core, that is per second of processor time of all processes."""

    pictures: int
    size: int
    mean_bytes: float  # of a picture file
    ours: float  # listing excepted: reading, decoding, noting, storing, checking, report
    bare: float  # Pillow alone: decode, convert, resize, crop; nothing kept
    share: float  # ours / bare


def intake_speed(path: str | Path, *, size: int = 256, pictures: int = 1000) -> IntakeSpeed:
    """Set the intake of photographs beside a bare loop of the same library on the same files.

    ``path``: an archive (.tar) or a folder of photographs, of which about ``pictures`` are taken.
    The two run one after the other three times and the medians are compared. Raises ``UsageError``
    or ``DataError`` for a path that is no such data set.
    """
    listing = folders.supply(Path(path)).listing()
    if listing.packed:
        raise UsageError(
            f"{path} is compressed, which would be measured too; give a .tar or a folder"
        )
    step = max(1, len(listing.entries) // pictures)
    entries = tuple(e for e in listing.entries[::step] if e.member)
    some = replace(listing, entries=entries)
    files = [_bytes_of(entry) for entry in entries]
    bare, ours = [], []
    for _ in range(3):
        bare.append(_processor_seconds(lambda: _bare(files, size)))
        ours.append(_processor_seconds(lambda: _intake(some, size)))
    with_, without = (len(files) / statistics.median(seconds) for seconds in (ours, bare))
    mean = sum(map(len, files)) / len(files)
    return IntakeSpeed(len(files), size, mean, with_, without, with_ / without)


def _bytes_of(entry: Entry) -> bytes:
    assert entry.member
    with open(entry.member.path, "rb") as file:
        file.seek(entry.member.offset)
        return file.read(entry.member.size)


def _intake(listing: Listing, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supply = Supply("bench", lambda: listing, "a benchmark")
        plan = Plan("bench", size, quiet=True, workers=1)
        take_in(Path(folder) / "cache", supply, plan, lambda _: None)


def _bare(files: Sequence[bytes], size: int) -> None:
    for data in files:
        with Image.open(io.BytesIO(data)) as picture:
            rgb = picture.convert("RGB")
        width, height = (size * side // min(rgb.size) for side in rgb.size)
        scaled = rgb.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
        np.asarray(scaled.crop((left, top, left + size, top + size)))


def _processor_seconds(work: Callable[[], None]) -> float:
    """Of this process and of those that it started and that have ended."""
    before = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - before
