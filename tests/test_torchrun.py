"""The real torchrun: one voice, no orphans, and what happens when a rank dies."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from alexnet.run import checkpoint, log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="torchrun is tried on Linux"),
]

SETS = {
    "data.name": "shapes",
    "data.train": "train[:40]",
    "data.validation": "train[40:60]",
    "data.test": "test[:20]",
    "train.batch": 10,
    "train.epochs": "2 epochs",
    "train.precision": "float32",
    "checkpoint.every": "1 step",
    "optim.name": "sgd",  # Muon takes seconds a step where bf16 is slow
    "optim.lr": 0.001,
}

# What torchrun starts: the command line, with a fault on rank 1 in the first attempt.
DRIVER = """
import os, sys, time
from alexnet.cli import main
from alexnet.training import loop

fault, real = os.environ["FAULT"], loop.train_step


def step(stage, batch, number):
    if fault == "slow":
        time.sleep(0.3)
    if number == 4 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if fault == "exit":
            os._exit(17)
        if fault == "kill":
            os.kill(os.getpid(), 9)
        if fault == "error":
            from alexnet.errors import DataError
            raise DataError("the disk of rank 1 is gone")
    return real(stage, batch, number)


loop.train_step = step
main()
"""


class Run:
    """A torchrun of two ranks in a folder of its own."""

    def __init__(self, folder, root, fault="", options=(), nodes=("--standalone", 2)):
        driver = folder / "driver.py"
        driver.write_text(DRIVER)
        self.folder = folder / "run"
        sets = [f"--set={key}={value}" for key, value in SETS.items()]
        *rendezvous, each = nodes
        call = [sys.executable, "-m", "torch.distributed.run", *rendezvous]
        call += ["--nproc-per-node", str(each), *options, str(driver)]
        call += ["train", "cifar10-quick", "--out", str(self.folder), "--device", "cpu", *sets]
        environment = {"ALEXNET_DATA": str(root), "OMP_NUM_THREADS": "1", "FAULT": fault}
        environment |= {"GLOO_SOCKET_IFNAME": "lo"}
        self.process = subprocess.Popen(
            call,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ranks(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, limit=200):
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            pytest.fail(f"still running after {limit} s: {err}")
        return self.process.returncode, out, err

    def until(self, step, limit=240):
        """Wait until that step is saved."""
        start = time.monotonic()
        while not checkpoint.every(self.folder) or steps(self.folder) < step:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() - start < limit
            time.sleep(0.05)


def steps(folder):
    return int(checkpoint.every(folder)[-1].name.removeprefix("step-"))


def gone(processes, within):
    _, alive = psutil.wait_procs(processes, timeout=within)
    for orphan in alive:
        orphan.kill()
    return not alive


def test_one_rank_writes_and_speaks(tmp_path, data_root):
    status, out, err = Run(tmp_path, data_root).end()
    assert status == 0, err
    assert out.count("of 20 test pictures") == 1
    assert err.count("epoch 1/2") == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["speed"]["ranks"] == 2
    assert result["test"]["count"] == 20
    assert "2 processes" in out


@pytest.mark.parametrize(
    ("fault", "shown"),
    [("exit", "exitcode  : 17"), ("kill", "SIGKILL"), ("error", "the disk of rank 1 is gone")],
)
def test_a_rank_that_dies_ends_the_run_with_its_error_shown(tmp_path, data_root, fault, shown):
    run = Run(tmp_path, data_root, fault)
    run.until(4)
    ranks, start = run.ranks(), time.monotonic()
    status, _, err = run.end(60)
    print(f"{fault}: over after {time.monotonic() - start:.1f} s")
    assert status == 1
    assert shown in err
    assert gone(ranks, 5)
    assert steps(run.folder) == 4, "what was saved stays"


def test_a_restart_goes_on_and_ends_as_if_nothing_had_been(tmp_path, data_root):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = Run(tmp_path / "whole", data_root)
    status, _, err = whole.end()
    assert status == 0, err
    broken = Run(tmp_path / "broken", data_root, "kill", ["--max-restarts", "1"])
    status, out, err = broken.end()
    assert status == 0, err
    assert "resumed" in err
    assert out.count("of 20 test pictures") == 1
    ours, theirs = (checkpoint.newest(run.folder, print) for run in (broken, whole))
    assert all((ours.weights[n] == t).all() for n, t in theirs.weights.items()), "to the bit"
    lines = [log.read_metrics(run.folder / log.METRICS) for run in (broken, whole)]
    assert [line["train_loss"] for line in lines[0]] == [line["train_loss"] for line in lines[1]]


def test_two_nodes_meet_by_torchruns_own_rendezvous(tmp_path, data_root):
    """Two agents, as on two machines: one run's folder that both see, a data set for each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}")
    nodes = [
        Run(tmp_path, root, nodes=(*meeting, "--rdzv-id=a", 1))
        for root in (data_root, tmp_path / "the other machine")
    ]
    ended = [node.end(280) for node in nodes]
    assert [status for status, *_ in ended] == [0, 0], ended
    out, err = ("".join(texts) for texts in list(zip(*ended, strict=True))[1:])
    assert out.count("of 20 test pictures") == 1, "one rank of all nodes speaks"
    assert err.count("epoch 1/2") == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["speed"]["ranks"], result["test"]["count"]) == (2, 20)
    assert (tmp_path / "the other machine" / "shapes").is_dir()


def test_no_rank_outlives_a_torchrun_that_is_killed(tmp_path, data_root):
    run = Run(tmp_path, data_root, "slow")
    run.until(1)
    ranks = run.ranks()
    run.process.kill()
    assert gone(ranks, 10)
    run.process.communicate()


def test_a_signal_to_torchrun_saves_at_one_step(tmp_path, data_root):
    run = Run(tmp_path, data_root, "slow")
    run.until(1)
    ranks = run.ranks()
    run.process.send_signal(signal.SIGTERM)
    _, _, err = run.end(60)
    assert gone(ranks, 5)
    assert err.count("saved at step") == 1
    assert not re.search(r'File ".*alexnet', err), "torchrun itself says what it was sent"
    saved = checkpoint.newest(run.folder, print)
    assert saved.state["progress"]["step"] == steps(run.folder)
