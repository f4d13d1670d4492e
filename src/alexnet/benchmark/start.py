"""How long a person waits for the command line: fresh processes beside a bare ``import torch``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from alexnet.benchmark.record import Row, Spread
from alexnet.data import shapes
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import AlexNetError, UsageError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run import checkpoint, classifier

AT_ONCE = 0.2  # seconds of a processor: what answers within them nobody waits for
TORCH, FLOOR = "import torch", "import torch and read the weights"
_READ = """
import sys, torch
from safetensors.torch import load_file
for tensor in load_file(sys.argv[1]).values():
    tensor.sum()
"""
QUICK = (
    "--help",
    "list models",
    "list recipes",
    "list datasets",
    "show alexnet-cifar",
    "show alexnet-2012",
    "show cifar10-quick",
)


@dataclass(frozen=True)
class Spent:
    """What one process took: seconds of a processor, of all its threads, and on the clock."""

    processor: float
    wall: float


def start_rows(network: str = "keras-lab", n: int = 5) -> list[Row]:
    """Time fresh processes, ``n`` of each by turns: what needs no torch, and a first prediction.

    The prediction is of a run of ``network`` with fresh weights, made for the purpose. Seconds of a
    processor are compared: a busy machine adds none of them. Raises ``UsageError`` for ``n`` below 1,
    an unknown network, or a system that does not say what a process took.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, got {n}")
    if not hasattr(os, "wait4"):
        raise UsageError("this system does not say what a process took, so nothing is measured")
    with _made_up_run(network) as (run, picture, weights):
        python, alexnet = [sys.executable, "-c"], [sys.executable, "-m", "alexnet"]
        calls = {
            "an empty Python": [*python, "pass"],
            TORCH: [*python, "import torch"],
            FLOOR: [*python, _READ, str(weights)],
            **{f"alexnet {words}": [*alexnet, *words.split()] for words in QUICK},
            f"alexnet predict, {network}": [*alexnet, "predict", str(run), str(picture)],
        }
        found = _by_turns(calls, n)
    return _rows(found, f"alexnet predict, {network}")


def _rows(found: Mapping[str, Sequence[Spent]], prediction: str) -> list[Row]:
    rows = {what: _row(what, spent) for what, spent in found.items()}
    floor = {prediction: rows[FLOOR], FLOOR: rows[TORCH], TORCH: rows[TORCH]}
    beside = {w: row.over(floor[w]) if w in floor else _at_once(row) for w, row in rows.items()}
    shown = ("alexnet --help", "alexnet list models", "alexnet show alexnet-cifar", prediction)
    return [replace(row, headline=what in shown) for what, row in beside.items()]


def _row(what: str, spent: Sequence[Spent]) -> Row:
    wall = statistics.median(s.wall for s in spent)
    return Row(what, "s", Spread.of(s.processor for s in spent), more={"wall, s": wall})


def _at_once(row: Row) -> Row:
    assert row.measured
    return replace(row, beside=f"{AT_ONCE} s", ratio=row.measured.median / AT_ONCE)


def _by_turns(calls: Mapping[str, Sequence[str]], n: int) -> dict[str, list[Spent]]:
    """Run every call ``n`` times after one that warms the disk's cache."""
    found: dict[str, list[Spent]] = {what: [] for what in calls}
    for turn in range(n + 1):
        for what, call in calls.items():
            spent = run_fresh(call)
            if turn:
                found[what].append(spent)
    return found


def run_fresh(call: Sequence[str]) -> Spent:
    """Run a program to its end. Raises ``AlexNetError`` with its last line where it fails.

    Python keeps its bytecode, as it does for an installed package; else each process would compile
    the package anew, which is not what a person waits for.
    """
    around = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    start = time.perf_counter()
    process = subprocess.Popen(call, stdout=null, stderr=pipe, env=around)
    assert process.stderr
    said = process.stderr.read().decode(errors="replace").strip()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if status:
        last = said.splitlines()[-1] if said else "it said nothing"
        raise AlexNetError(f"{' '.join(call[:4])} ended with status {process.returncode}: {last}")
    return Spent(used.ru_utime + used.ru_stime, wall)


@contextmanager
def _made_up_run(network: str) -> Iterator[tuple[Path, Path, Path]]:
    """Make a run of fresh weights; yields its folder, a picture, and the file of its weights."""
    module = build(zoo.network(network))
    prepared = Preprocessing(picture_size=module.size, size=module.size)
    classes = tuple(f"class {n}" for n in range(module.network.classes))
    model = classifier.card(network, classes, prepared, "centre", "last", "")
    saved = checkpoint.Checkpoint(
        Path("step-00000001"), dict(module.state_dict()), {"none": torch.zeros(1)}, {}, model
    )
    with tempfile.TemporaryDirectory() as folder:
        place, picture = Path(folder) / "run", Path(folder) / "picture.png"
        at = checkpoint.save(place, saved)
        Image.fromarray(shapes.draw(8, size=64).images[0]).save(picture)
        yield place, picture, at / checkpoint.WEIGHTS
