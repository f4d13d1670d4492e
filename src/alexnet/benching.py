"""``alexnet bench``: the suites of the benchmark, each with a table and, where asked, a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from alexnet.calling import Argument, BadParameter, Exit, Option, Program
from alexnet.options import DeviceName, Json, Root, seeds_of
from alexnet.terminal import say, typed, write

if TYPE_CHECKING:
    from alexnet.benchmark.record import Row
    from alexnet.run.device import Device

STEP = "step"
RecordFile = Annotated[
    Path | None,
    Option(metavar="FILE.json", help="Keep what was measured, and on what, in this file."),
]
Precision = Annotated[str, Option(help="auto, bf16, tf32 or float32.")]


bench = Program(
    "bench",
    "Measure speed beside its limit: step, accuracy, input, stream, inference, start, or all.",
    default=STEP,
)


@bench.command(STEP)
def step(
    network: Annotated[str, Option(help="A network.")] = "keras-lab",
    batch: Annotated[int, Option(help="Pictures a step.")] = 128,
    size: Annotated[int | None, Option(help="Side of the pictures.")] = None,
    rounds: Annotated[int, Option(help="Steps to time.")] = 7,
    precision: Precision = "auto",
    optimizer: Annotated[
        str, Option(help="sgd, adam, keras-sgd, keras-adam, rmsprop, muon, 2012.")
    ] = "sgd",
    convolutions: Annotated[str, Option(help="auto, winograd or direct.")] = "auto",
    compiled: Annotated[
        bool, Option("--compile", help="Compile it; on a CUDA device, as one graph.")
    ] = False,
    parts: Annotated[
        bool, Option("--parts", help="Say where time and memory go, by layer and by kind.")
    ] = False,
    predict: Annotated[
        bool, Option("--predict", help="Predict the step from two rates of the hardware.")
    ] = False,
    matrix_rate: Annotated[
        float | None, Option(help="FLOP/s of other hardware to predict for.")
    ] = None,
    memory_rate: Annotated[
        float | None, Option(help="Bytes/s of its memory, read and written.")
    ] = None,
    fused: Annotated[
        bool, Option("--fused", help="Predict for a GPU with this package's own kernels.")
    ] = False,
    device: DeviceName = "auto",
    record: RecordFile = None,
    as_json: Json = False,
) -> None:
    """Time a training step and set it beside the matrix rate of the same minute."""
    from alexnet.benchmark.step import step_rows, step_speed, step_text

    chosen = _ready(record, device, precision)
    what: dict[str, Any] = {"batch": batch, "size": size, "optimizer": optimizer}
    what |= {"convolutions": convolutions, "compiled": compiled}
    details: dict[str, Any] = {}
    if parts or predict or fused:
        from alexnet.benchmark.explain import explain

        asked: dict[str, Any] = {"parts": parts, "predicts": predict, "fused": fused}
        rates = (matrix_rate, memory_rate)
        told = explain(network, chosen, rounds=rounds, rates=rates, **asked, **what)
        details = told.to_json()
        write(details if as_json else told.text())
    if record is not None or not details:
        found = step_speed(network, chosen, rounds=rounds, **what)
        settings = {"network": network, "batch": batch}
        _keep(record, STEP, step_rows(found), chosen, settings, details=details)
        if not details or not as_json:
            write(found.to_json() if as_json else step_text(found))


@bench.command()
def accuracy(
    recipe: Annotated[str, Argument(help="A recipe's name or a .toml file.")],
    target: Annotated[float, Option(help="Test accuracy to reach, between 0 and 1.")] = 0.94,
    seeds: Annotated[str, Option(help="A run for each: 0..4, or 0,3,7.")] = "0..4",
    device: DeviceName = "auto",
    data: Root = None,
    record: RecordFile = None,
    resume: Annotated[
        bool, Option("--resume", help="Add to the seeds that the record holds already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe once a seed: time, multiply-adds and memory to a test accuracy."""
    from dataclasses import asdict

    from alexnet import recipe as recipes
    from alexnet.benchmark.accuracy import accuracy_rows, accuracy_runs, runs_in
    from alexnet.reporting.speed import text
    from alexnet.run.log import Console

    if not 0 < target <= 1:
        raise BadParameter(f"--target {target} is no accuracy; give 0.94 for 94 %")
    if resume and record is None:
        raise BadParameter("--resume adds to a record; name it with --record FILE.json")
    plan, asked = recipes.load(recipe), seeds_of(seeds)
    chosen = _ready(record, device, plan.train.precision)
    held = runs_in(record, plan, chosen) if resume and record else []
    left = [seed for seed in asked if seed not in {run.seed for run in held}]
    if not left:
        raise BadParameter(f"--seeds {seeds}: {record} holds them all; leave out --resume, or add")
    settings = {"recipe": recipe, "target": target, "seeds": []}
    found: dict[str, Any] = {}
    how: dict[str, Any] = {"root": data, "console": Console(), "held": held}
    for warm_up, runs in accuracy_runs(plan, left, chosen, **how):
        rows = accuracy_rows(plan.name, runs, warm_up, target, chosen)
        details = {"recipe": recipes.settled(plan), "runs": [asdict(run) for run in runs]}
        settings["seeds"] = [run.seed for run in runs]
        # After every seed: what was measured is not lost with one that is stopped.
        found = _keep(record, "accuracy", rows, chosen, settings, details=details)
    write(found if as_json else text(found))


@bench.command("input")
def input_(
    recipe: Annotated[str, Option(help="Whose augmentation and data.")] = "cifar10-quick",
    photographs: Annotated[
        Path | None,
        Option(metavar="DIR|TAR", help="What to decode. [default: made-up JPEG files]"),
    ] = None,
    pictures: Annotated[int, Option(help="How many to decode and to read.")] = 512,
    rounds: Annotated[int, Option(help="Of augmenting a batch.")] = 5,
    steps: Annotated[int, Option(help="Of training, to see how long it waits.")] = 20,
    device: DeviceName = "auto",
    data: Root = None,
    record: RecordFile = None,
    as_json: Json = False,
) -> None:
    """Measure decoding, reading the cache, augmenting, and what a training waits for them."""
    from alexnet import recipe as recipes
    from alexnet.benchmark.input import input_rows

    plan = recipes.load(recipe)
    chosen = _ready(record, device, plan.train.precision)
    counts = {"pictures": pictures, "rounds": rounds, "steps": steps}
    rows = input_rows(plan, chosen, photographs=photographs, root=data, **counts)
    files = photographs.name if photographs else "made up"
    settings = {"recipe": recipe, "photographs": files, **counts}
    _tell("input", rows, chosen, settings, record, as_json)


@bench.command()
def stream(
    pictures: Annotated[int, Option(help="Of 256x256: 196,608 bytes each.")] = 4096,
    batch: Annotated[int, Option(help="Pictures a batch.")] = 128,
    rounds: Annotated[int, Option(help="Readings of all of them.")] = 3,
    data: Root = None,
    record: RecordFile = None,
    as_json: Json = False,
) -> None:
    """Read a made-up cache from the disk as training does, beside what the disk gives."""
    from alexnet.benchmark.stream import stream_rows
    from alexnet.data.sources import default_root

    chosen = _ready(record, "cpu", "float32")
    counts = {"pictures": pictures, "batch": batch, "rounds": rounds}
    rows = stream_rows(data or default_root(), **counts)
    _tell("stream", rows, chosen, counts, record, as_json)


@bench.command()
def inference(
    model: Annotated[str, Argument(help="A network, a run's folder or a checkpoint.")],
    batch: Annotated[
        list[int] | None,
        Option(metavar="N", help="Pictures at a time; may be given again. [default: 1, 128]"),
    ] = None,
    rounds: Annotated[int, Option(help="Calls to time, of each form and size.")] = 20,
    device: DeviceName = "auto",
    record: RecordFile = None,
    as_json: Json = False,
) -> None:
    """Run one network in every form on the same pictures: speed, latency, and do they agree."""
    import alexnet
    from alexnet.benchmark.forms import versions
    from alexnet.benchmark.inference import SIZES, inference_rows

    chosen = _ready(record, device, "float32")
    sizes = batch or list(SIZES)
    loaded = alexnet.load(model, say=say)
    rows = inference_rows(loaded, chosen, sizes=sizes, rounds=rounds)
    network = loaded.module.network.name
    settings = {"network": network, "batches": sizes, "rounds": rounds}
    _tell("inference", rows, chosen, settings, record, as_json, packages=versions())


@bench.command()
def start(
    network: Annotated[str, Option(help="Whose weights a prediction reads.")] = "keras-lab",
    n: Annotated[int, Option("--n", help="Fresh processes of each kind.")] = 5,
    record: RecordFile = None,
    as_json: Json = False,
) -> None:
    """Time the command line itself: help, lists, cards, a first prediction, beside import torch."""
    from alexnet.benchmark.start import start_rows

    chosen = _ready(record, "cpu", "float32")
    rows = start_rows(network, n)
    _tell("start", rows, chosen, {"network": network, "n": n}, record, as_json)


@bench.command("all")
def all_(
    record: Annotated[
        Path, Option(metavar="DIR", help="Keep a record of each suite in this folder.")
    ] = Path("benchmarks"),
    network: Annotated[str, Option(help="For step, inference and start.")] = "keras-lab",
    recipe: Annotated[str, Option(help="For accuracy and input.")] = "cifar10-quick",
    target: Annotated[float, Option(help="For accuracy.")] = 0.9,
    seeds: Annotated[str, Option(help="For accuracy.")] = "0..2",
    photographs: Annotated[Path | None, Option(metavar="DIR|TAR", help="For input.")] = None,
    device: DeviceName = "auto",
) -> None:
    """Run every suite in a process of its own, then write the folder's tables and picture."""
    from alexnet.benchmark.every import run_each, suites
    from alexnet.reporting.benchmarks import write_page

    calls = suites(network, recipe, target, seeds, photographs, device, record)
    failed = run_each(calls, say)
    for path in write_page(record):
        say(f"wrote {path}")
    if failed:
        say(f"alexnet: {', '.join(failed)} failed; what they said is above")
        raise Exit(1)


def _ready(record: Path | None, device: str, precision: str) -> Device:
    """Refuse a bad record before anything is measured, and make the process fast."""
    from alexnet.benchmark.record import refuse_bad_path
    from alexnet.run.device import choose, prepare_process

    refuse_bad_path(record)
    prepare_process()
    return choose(device, precision)


def _tell(
    suite: str,
    rows: Sequence[Row],
    device: Device,
    settings: Mapping[str, Any],
    path: Path | None,
    as_json: bool,
    **more: Mapping[str, Any],
) -> None:
    from alexnet.reporting.speed import text

    found = _keep(path, suite, rows, device, settings, **more)
    write(found if as_json else text(found))


def _keep(
    path: Path | None,
    suite: str,
    rows: Sequence[Row],
    device: Device,
    settings: Mapping[str, Any],
    **more: Mapping[str, Any],
) -> dict[str, Any]:
    from alexnet.benchmark.record import keep, record

    found = record(suite, rows, device, command=typed(), settings=settings, **more)
    if path is not None:
        say(f"wrote {keep(found, path)}")
    return found.to_json()
