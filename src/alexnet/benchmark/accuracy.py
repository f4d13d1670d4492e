"""What it costs to reach a test accuracy: whole runs of a recipe, one a seed, warm-up apart."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet import recipe as recipes
from alexnet.benchmark.record import Row, Spread
from alexnet.errors import Interrupted, UsageError
from alexnet.plain import differing
from alexnet.recipe import Recipe
from alexnet.run.device import Device, environment
from alexnet.run.log import Console
from alexnet.run.machine import memory
from alexnet.run.stamp import commit
from alexnet.training.loop import fit

WARM_UP = "2 steps"


@dataclass(frozen=True)
class Run:
    """One seed's run, from its result.json, and what stood outside its clock."""

    seed: int
    accuracy: float
    training_seconds: float
    other_seconds: float  # opening the data, rehearsing, validating, saving, testing
    training_multiply_adds: int
    share_of_matrix_rate: float
    waiting_share: float
    peak_memory_bytes: int
    commit: str = ""  # of the code that ran; empty in records that one process made


def runs_in(path: Path, recipe: Recipe, device: Device) -> list[Run]:
    """Return what a record holds of this recipe's seeds, none where there is no such file.

    Raises ``UsageError`` for a record of anything else: settings, machine, precision, torch.
    """
    if not path.is_file():
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        runs = [Run(**{"commit": kept["commit"], **run}) for run in kept["details"]["runs"]]
        theirs = {**kept["details"]["recipe"], **_machine(kept["environment"])}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} holds no seeds to add to; choose another --record") from None
    ours = {**recipes.settled(recipe), **_machine(environment(device))}
    for key in differing(ours, theirs):
        raise UsageError(
            f"{path} was measured with {key} = {theirs.get(key)!r}, and here it is "
            f"{ours.get(key)!r}: such seeds are not one mean; choose another --record"
        )
    return runs


def _machine(around: Mapping[str, Any]) -> dict[str, Any]:
    named = {key: around[key] for key in ("hardware", "precision", "threads")}
    return {**named, "torch": around["packages"]["torch"]}


def accuracy_runs(
    recipe: Recipe,
    seeds: Sequence[int],
    device: Device,
    *,
    root: Path | None = None,
    console: Console | None = None,
    held: Sequence[Run] = (),
) -> Iterator[tuple[float, list[Run]]]:
    """Train a recipe once a seed; yields the warm-up's seconds and the runs so far after each of them.

    The warm-up is two steps of the same recipe in the same process: memory is mapped, kernels are
    chosen and, where the recipe asks for it, compiled. The runs' folders are removed again. ``held``:
    runs of other seeds, which those yielded begin with. Raises ``Interrupted`` where it was asked to stop,
    naming the seeds that are left.
    """
    console = console or Console(quiet=True)
    short = {"train.epochs": WARM_UP, "schedule.warmup": "0 epochs"}
    start = time.perf_counter()
    with _naming_what_is_left(seeds, 0):
        _run(recipes.override(recipe, short), seeds[0], device, root, Console(quiet=True))
    warm_up = time.perf_counter() - start
    console.say(f"warmed up in {warm_up:.1f} s, outside the clock")
    found = list(held)
    for number, seed in enumerate(seeds):
        with _naming_what_is_left(seeds, number):
            found.append(_run(recipe, seed, device, root, console))
        console.say(f"seed {seed}: {found[-1].accuracy:.2%}, {found[-1].training_seconds:.2f} s")
        yield warm_up, found


@contextmanager
def _naming_what_is_left(seeds: Sequence[int], number: int) -> Iterator[None]:
    """Say of an interruption what goes on with the seeds: a run's own folder is gone by then."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(_stopped(seeds, number), error.exit_code) from None


def _stopped(seeds: Sequence[int], number: int) -> str:
    ended = ", ".join(map(str, seeds[:number])) or "none"
    left = ",".join(map(str, seeds[number:]))
    return (
        f"stopped in seed {seeds[number]}; finished: {ended}. Measure the others by --seeds {left}, "
        "and with --resume into the same --record"
    )


def _run(recipe: Recipe, seed: int, device: Device, root: Path | None, console: Console) -> Run:
    plan = recipes.override(recipe, {"train.seed": seed})
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(plan, Path(folder) / "run", device=device, root=root, console=console)
    whole, speed = time.perf_counter() - start, result.record["speed"]
    return Run(
        seed=seed,
        accuracy=result.record["test"]["accuracy"],
        training_seconds=speed["training_seconds"],
        other_seconds=whole - speed["training_seconds"],
        training_multiply_adds=speed["training_multiply_adds"],
        share_of_matrix_rate=speed["share_of_matrix_rate"],
        waiting_share=speed["waiting_share"],
        peak_memory_bytes=_peak(device, speed),
        commit=commit(),
    )


def _peak(device: Device, speed: dict[str, Any]) -> int:
    if device.torch.type == "cuda":
        return torch.cuda.max_memory_allocated(device.torch)
    return int(speed["peak_memory_bytes"])


def accuracy_rows(
    name: str, runs: Sequence[Run], warm_up: float, target: float, device: Device
) -> list[Row]:
    """Return the table of some runs: whether their mean meets the target (0..1), and their cost.

    The ratio of the training is the share of the matrix rate, as in a run's own record.
    """
    scores = Spread.of(100 * run.accuracy for run in runs)
    seconds = Spread.of(run.training_seconds for run in runs)
    other = Spread.of(run.other_seconds for run in runs)
    share = Spread.of(run.share_of_matrix_rate for run in runs).mean
    work = Spread.of(run.training_multiply_adds / 1e12 for run in runs).mean
    return [
        Row(
            f"{name}, test accuracy",
            "%",
            scores,
            f"target {100 * target:g} %",
            scores.mean / 100 / target,
            {"mean": _mean(scores)},
            note=_verdict(scores, target),
            headline=True,
        ),
        Row(
            f"{name}, training",
            "s",
            seconds,
            "the matrix rate",
            share,
            {"mean": _mean(seconds), "T multiply-adds": work},
            headline=True,
        ),
        Row("outside the clock", "s", other, "training", other.median / seconds.median),
        Row("warm-up", "s", Spread.of([warm_up]), "training", warm_up / seconds.median),
        _memory(runs, device),
    ]


def _mean(found: Spread) -> str:
    return f"{found.mean:.2f} ± {found.deviation:.2f}"


def _verdict(scores: Spread, target: float) -> str:
    met = scores.mean >= 100 * target
    return (
        f"The mean of {scores.n} seeds, {scores.mean:.2f} %, {'meets' if met else 'misses'} the "
        f"target of {100 * target:g} %."
    )


def _memory(runs: Sequence[Run], device: Device) -> Row:
    peak = Spread.of(run.peak_memory_bytes / 2**20 for run in runs)
    there = memory_of(device)
    ratio = peak.max * 2**20 / there if there else None
    return Row("peak memory", "MiB", peak, "the memory there is", ratio)


def memory_of(device: Device) -> int | None:
    """Return the bytes of memory that a device has; None where the system does not say."""
    if device.torch.type == "cuda":
        return int(torch.cuda.get_device_properties(device.torch).total_memory)
    return memory()
