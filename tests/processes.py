"""Runs in processes of their own, made so that they die where a test says, and what they left.

The processes are forked from a server that has torch loaded already, where the system can do that.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import alexnet
from alexnet.reporting import run_pictures
from alexnet.run import checkpoint, log
from alexnet.run.device import Device

SHAPES: dict[str, Any] = {  # some drawn pictures, for any recipe
    "data.name": "shapes",
    "data.train": "train[:100]",
    "data.validation": "train[100:150]",
    "data.test": "test[:50]",
    "train.batch": 25,
    "train.epochs": "2 epochs",
    "train.precision": "float32",
}
TINY = SHAPES | {"model.network": "alexnet-cifar"}
STEPS = 4  # of an epoch
HEAD: dict[str, Any] = TINY | {  # a head on frozen convolutions, which run once
    "input.size": 32,
    "data.train": "train[:40]",
    "data.validation": "train[100:120]",
    "data.test": "test[:20]",
    "train.batch": 10,
    "model.frozen": ["conv*", "norm*"],
    "model.head": [12],
    "augment.crop": 0,
    "optim.name": "adam",
    "optim.lr": 0.001,
}
TIMINGS = {"seconds", "images_per_second", "waited", "waiting_share", "before"}
KILLED = -9 if sys.platform != "win32" else 15

Change = Callable[[], None]

_context = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
_loaded = ["alexnet.training.loop", "alexnet.reporting.run_pictures", "torch._dynamo", "pytest"]
if sys.platform != "win32":
    _context.set_forkserver_preload(_loaded)


def start(target: Callable[..., None], *args: Any) -> multiprocessing.process.BaseProcess:
    """Start a function of some module in a process."""
    process = _context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def call(target: Callable[..., None], *args: Any) -> int:
    """Run a function in a process to its end and return its exit status."""
    process = start(target, *args)
    process.join(100)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def together(target: Callable[..., None], *args: Any, world: int = 2) -> list[int]:
    """Run a function in processes that are the ranks of one run; returns their exit statuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [start(_as_rank, rank, world, port, target, args) for rank in range(world)]
    for process in ranks:
        process.join(100)
    for process in ranks:
        process.kill()  # one that hangs; nothing happens to the others
    return [process.exitcode for process in ranks]


def _as_rank(rank: int, world: int, port: int, target: Callable[..., None], args: Any) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if loopback := {"linux": "lo", "darwin": "lo0"}.get(sys.platform):
        os.environ["GLOO_SOCKET_IFNAME"] = loopback
    target(*args)


def train(folder: Path, root: Path, override: dict[str, Any], *changes: Change) -> int:
    """Train in a process, in which ``changes`` are made first; returns its exit status."""
    return call(_train, folder, root, override, changes)


def resume(folder: Path, root: Path, *changes: Change) -> int:
    """Resume in a process; returns its exit status."""
    return call(_resume, folder, root, changes)


def _train(folder: Path, root: Path, override: dict[str, Any], changes: Iterable[Change]) -> None:
    _prepare(changes)
    alexnet.train(
        "cifar10-quick",
        folder,
        override=TINY | override,
        device="cpu",
        data_root=root,
        console=log.Console(quiet=True),
    )


def _resume(folder: Path, root: Path, changes: Iterable[Change]) -> None:
    _prepare(changes)
    alexnet.resume(folder, device="cpu", data_root=root, console=log.Console(quiet=True))


def _prepare(changes: Iterable[Change]) -> None:
    """Leave out what takes seconds and changes no weight: the rate of the machine, the pictures."""
    torch.set_num_threads(1)
    replace("alexnet.run.device", "Device", "matrix_rate", with_=_a_rate)
    run_pictures.draw = lambda *args: []
    for change in changes:
        change()


def _a_rate(self: Device) -> float:
    return 1e11


def replace(module: str, *path: str, with_: Any) -> None:
    """Replace ``module.path`` in this process."""
    *owners, name = path
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, with_)


def dies(where: str, call: int = 1, *, after: bool = False) -> Change:
    """Return a change: the process is killed, -9, at a call of a function of ours.

    ``where`` is e.g. ``"training.loop.train_step"``; ``call`` counts from 1; ``after``: when it has
    returned, else before it starts.
    """
    module, _, name = f"alexnet.{where}".rpartition(".")
    return partial(_make_deadly, module, name, call, after)


def _make_deadly(module: str, name: str, call: int, after: bool) -> None:
    real = getattr(importlib.import_module(module), name)
    calls = 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            die()
        value = real(*args, **kwargs)
        if calls == call:
            die()
        return value

    replace(module, name, with_=deadly)


def die() -> None:
    """End this process as kill -9 does: no handler, no clean-up."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def trace(folder: Path) -> dict[str, Any]:
    """Return every bit that a finished run left, timings aside, for comparison."""
    last = checkpoint.newest(folder, print)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    state = last.state | {"progress": untimed(last.state["progress"])}
    return {
        "checkpoint": last.path.name,
        "best": (folder / checkpoint.BEST).read_text(encoding="utf-8"),
        "input": {name: bits(t) for name, t in last.input.items()},
        "weights": {name: bits(t) for name, t in last.weights.items()},
        "memory": {name: bits(t) for name, t in last.optimizer.items()},
        "state": state,
        "model": last.model,
        "metrics": [untimed(line) for line in log.read_metrics(folder / log.METRICS)],
        "history": [untimed(line) for line in result["history"]],
        "test": result["test"],
        "test_views": result["test_views"],
        "counted": {k: result["speed"][k] for k in ("pictures", "training_multiply_adds")},
    }


def untimed(line: dict[str, Any]) -> dict[str, Any]:
    """Leave out the timings."""
    return {k: v for k, v in line.items() if k not in TIMINGS}


def bits(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], str]:
    """Return dtype, shape and a digest of the values' bits."""
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(raw).hexdigest()
