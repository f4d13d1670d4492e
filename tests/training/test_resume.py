"""A run that is killed, anywhere, and resumed ends with the bits of a run that was not.

Nothing is allowed to differ, atol = rtol = 0: weights, what the optimiser remembers, the rules'
state, every line of metrics, the scores of the test split. Only timings may.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from functools import cache, partial

import pytest
import torch
from processes import KILLED, TINY, Change, die, dies, replace, resume, trace, train

from alexnet.run import checkpoint, log
from alexnet.run.device import fast_bf16
from alexnet.training import record

# Between them: both kinds of memory, averaged weights, every source of chance (order, shifts,
# mirroring, cutout, dropout), rules with a memory, saving inside epochs and at their ends.
MUON = {"train.average": 0.9}
ADAM = {
    "data.train": "train[:90]",
    "train.drop_last": False,  # the last batch of an epoch is smaller
    "optim.name": "keras-adam",
    "optim.lr": 0.002,
    "schedule.name": "plateau",
    "schedule.patience": 1,
    "schedule.min_delta": 100.0,  # nothing is an improvement: the rate falls every epoch
    "schedule.factor": 0.5,
    "train.early_stopping": 3,
    "train.epochs": "3 epochs",
    "augment.flip": "random",
    "augment.cutout": 8,
    "checkpoint.every": "3 steps",
    "evaluation.keep": "best",
}
# What is measured of the training split and travels with the run, and what is drawn by it.
MEASURED = {
    "optim.name": "sgd",
    "optim.lr": 0.01,
    "input.size": 28,
    "input.fit": "crop",
    "input.mean": "picture",
    "augment.window": "chunk",
    "augment.flip": "random",
    "augment.crop": 0,
    "augment.jitter": 0.2,
    "augment.colour": 0.1,
    "augment.colour_shrink": 1.1,
    "train.balance": "sampling",
    "evaluation.views": "ten",
    "evaluation.also": ["centre"],
    "checkpoint.every": "3 steps",
}
# Where bf16 is emulated a step takes seconds, and the rest of the plan is tested without it.
QUICK = "bf16" if fast_bf16(torch.device("cpu")) else "float32"
BF16 = {"train.precision": QUICK, "train.average": 0.9, "checkpoint.every": "3 steps"}
RMSPROP = {
    "optim.name": "rmsprop",
    "optim.lr": 0.001,
    "optim.centered": True,
    "augment.mixup": 0.4,
    "checkpoint.every": "3 steps",
}
EIGHT = {  # the update of cifar10-94: SGD beside Muon, and a tensor that is left alone in the end
    "optim.aux": "sgd",
    "optim.aux_lr": 1.0,
    "optim.group": [{"match": "norm1.bias", "until": "5 steps", "falls": True}],
    "checkpoint.every": "3 steps",
}
PLANS = {"muon": MUON, "adam": ADAM, "bf16": BF16, "measured": MEASURED, "rmsprop": RMSPROP}
PLANS["eight"] = EIGHT


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, data_root):
    """Return the trace of a plan's run that nothing interrupted, made once."""

    @cache
    def made(plan):
        folder = tmp_path_factory.mktemp("unbroken") / plan
        assert train(folder, data_root, PLANS[plan]) == 0
        return trace(folder)

    return made


STEP, SAVE = "training.loop.train_step", "run.checkpoint."


@pytest.mark.parametrize(
    ("plan", "death"),
    [
        pytest.param("muon", dies(STEP), id="before the first step"),
        pytest.param("muon", dies(STEP, 1, after=True), id="after the first step"),
        pytest.param("muon", dies(STEP, 4, after=True), id="at the last step of an epoch"),
        pytest.param("muon", dies("training.loop.save", 2), id="between metrics and checkpoint"),
        pytest.param("muon", dies(SAVE + "save_file", 2), id="in the first save"),
        pytest.param("muon", dies(STEP, 6), id="inside the second epoch"),
        pytest.param("muon", dies(SAVE + "save_file", 4), id="in a later save"),
        pytest.param("muon", dies(SAVE + "_write", 2, after=True), id="before the rename"),
        pytest.param("muon", dies(SAVE + "_forget_old", 1), id="before tidying up"),
        pytest.param("muon", dies("training.record.finish"), id="before the test"),
        pytest.param("adam", dies(STEP, 3, after=True), id="adam, before any checkpoint"),
        pytest.param("adam", dies(STEP, 4), id="adam, from inside the first epoch"),
        pytest.param("adam", dies(SAVE + "_write", 2, after=True), id="adam, in a save"),
        pytest.param("adam", dies("training.loop.validate", 2), id="adam, validating"),
        pytest.param("adam", dies(STEP, 9, after=True), id="adam, as the third epoch begins"),
        pytest.param("bf16", dies(STEP, 8), id="bf16, inside an epoch"),
        pytest.param("measured", dies(STEP, 2), id="measured, before any checkpoint"),
        pytest.param("measured", dies(STEP, 6), id="measured, inside an epoch"),
        pytest.param("rmsprop", dies(STEP, 6), id="rmsprop, inside an epoch"),
        pytest.param("eight", dies(STEP, 5), id="eight, before a group's end"),
        pytest.param("eight", dies(STEP, 8), id="eight, behind a group's end"),
    ],
)
def test_killed_and_resumed_is_never_killed(tmp_path, data_root, unbroken, plan, death):
    folder = tmp_path / "run"
    assert train(folder, data_root, PLANS[plan], death) == KILLED
    assert not (folder / record.RESULT).exists()
    assert resume(folder, data_root) == 0
    assert trace(folder) == unbroken(plan)
    assert not [*folder.rglob(".*.tmp")], "half-written files are swept away"


@pytest.mark.parametrize("older", [True, False], ids=["an older best", "no best yet"])
def test_killed_between_last_and_best_is_never_killed(tmp_path, data_root, older):
    """No later epoch is as good: only what the checkpoint remembers can put BEST right."""
    plan = {"train.epochs": "3 epochs", "evaluation.keep": "best"}
    losses = scripted({4: 2.0 if older else 1.0, 8: 1.0 if older else 2.0, 12: 3.0})
    names = 2 * 3 if older else 3  # of what a save writes as text: its manifest, LAST and BEST
    assert train(tmp_path / "whole", data_root, plan, losses) == 0
    broken = tmp_path / "run"
    assert train(broken, data_root, plan, losses, dies(SAVE + "write_text", names)) == KILLED
    assert (broken / checkpoint.BEST).exists() == older
    assert resume(broken, data_root, losses) == 0
    assert trace(broken) == trace(tmp_path / "whole")


@pytest.mark.parametrize("plan", ["adam"])
def test_killed_again_and_again(tmp_path, data_root, unbroken, plan):
    folder = tmp_path / "run"
    status = train(folder, data_root, PLANS[plan], dies(STEP, 4))
    kills = 0
    while status == KILLED:
        kills += 1
        assert kills < 10, "no progress"
        status = resume(folder, data_root, dies(STEP, 5))
    assert (status, kills) == (0, 3)
    assert trace(folder) == unbroken(plan)


def opening_metrics() -> None:
    """Die with the file that is to hold the metrics opened to be written, and nothing written."""
    real = io.open

    def deadly(file, mode="r", *args, **kwargs):
        opened = real(file, mode, *args, **kwargs)
        if "w" in mode and log.METRICS in str(file):
            die()
        return opened

    builtins.open = io.open = deadly


@pytest.mark.parametrize("death", [dies("training.saving._restore_tensors"), opening_metrics])
def test_killed_while_resuming(tmp_path, data_root, unbroken, death):
    folder = tmp_path / "run"
    assert train(folder, data_root, MUON, dies(STEP, 6)) == KILLED
    assert len(log.read_metrics(folder / log.METRICS)) == 1
    assert resume(folder, data_root, death) == KILLED
    assert resume(folder, data_root) == 0
    assert trace(folder) == unbroken("muon")


# The control: each of these must be seen, or the comparison above proves nothing.


def not_fast_forwarded() -> None:
    from alexnet.data import loader

    def from_the_start(*args, **kwargs):
        return loader.training_batches(*args, **kwargs | {"first": 0})

    replace("alexnet.training.loop", "training_batches", with_=from_the_start)


def forgetful() -> None:
    replace("alexnet.training.optim", "restore_memory", with_=lambda *args: None)


def other_dropout() -> None:
    from alexnet.data.order import fold

    def other(seed, *parts):
        return fold(seed + (parts[0] == "dropout"), *parts)

    replace("alexnet.training.loop", "fold", with_=other)


def other_shifts() -> None:
    from alexnet.data.loader import generator

    replace("alexnet.training.loop", "generator", with_=partial(generator, 1))


@pytest.mark.parametrize("fault", [not_fast_forwarded, forgetful, other_dropout, other_shifts])
def test_control_a_wrong_resume_is_seen(tmp_path, data_root, unbroken, fault):
    folder = tmp_path / "run"
    plan = PLANS["bf16"]
    assert train(folder, data_root, plan, dies(STEP, 8)) == KILLED
    assert resume(folder, data_root, fault) == 0
    assert trace(folder)["weights"] != unbroken("bf16")["weights"]


def test_same_seed_same_bits_other_seed_other_bits(tmp_path, data_root, unbroken):
    assert train(tmp_path / "again", data_root, MUON) == 0
    assert trace(tmp_path / "again") == unbroken("muon")
    assert train(tmp_path / "other", data_root, MUON | {"train.seed": 1}) == 0
    assert trace(tmp_path / "other")["weights"] != unbroken("muon")["weights"]


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, data_root, unbroken):
    folder = tmp_path / "run"
    assert train(folder, data_root, ADAM, dies(STEP, 8)) == KILLED
    earlier, last = checkpoint.every(folder)
    assert (earlier.name, last.name) == ("step-00000004", "step-00000006")
    file = last / checkpoint.OPTIMIZER
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 4
    file.write_bytes(raw)
    assert resume(folder, data_root) == 0
    assert trace(folder) == unbroken("adam")
    assert (folder / "checkpoints" / f"damaged-{last.name}").is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal to send politely")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_that_works(
    tmp_path, data_root, unbroken, number, status
):
    folder = tmp_path / "a run"  # with a blank, for the line is to be pasted into a shell
    sets = [f"--set={key}={value}" for key, value in (TINY | MUON).items()]
    call = ["train", "cifar10-quick", "--out", str(folder), "--device", "cpu", *sets]
    text, found = _run_cli(call, data_root, until="epoch 1/2", number=number)
    assert found == status, text
    assert "finishing this step" in text
    assert re.search(rf"{number.name}: saved at step \d", text)
    assert "Traceback" not in text
    assert checkpoint.every(folder)
    line = next(part for part in text.splitlines() if part.strip().startswith("alexnet resume "))
    text, found = _run_cli(shlex.split(line)[1:], data_root)
    assert found == 0, text
    assert trace(folder) == unbroken("muon")


def _run_cli(arguments, root, *, until="", number=None) -> tuple[str, int]:
    """Run the command line to its end; send a signal when a line begins with ``until``."""
    call = [sys.executable, "-m", "alexnet", *arguments]
    environment = os.environ | {"ALEXNET_DATA": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    text = ""
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            text += line
            if number and line.startswith(until):
                process.send_signal(number)
                number = None
    return text, process.returncode


def scripted(losses: dict[int, float]) -> Change:
    """Return a change: validation finds these losses, by optimiser step."""
    return partial(_script, losses)


def _script(losses: dict[int, float]) -> None:
    from dataclasses import replace as changed

    from alexnet.training import loop

    real, take = loop.validate, loop.train_step
    at = 0

    def step(stage, batch, number):
        nonlocal at
        at = number + 1
        return take(stage, batch, number)

    replace("alexnet.training.loop", "train_step", with_=step)
    replace(
        "alexnet.training.loop",
        "validate",
        with_=lambda stage: changed(real(stage), loss=losses[at]),
    )


RULES = {
    "data.train": "train[:50]",
    "optim.name": "sgd",
    "optim.lr": 0.01,
    "schedule.name": "plateau",
    "schedule.patience": 2,
    "schedule.min_delta": 0.0,
    "schedule.factor": 0.5,
    "train.early_stopping": 3,
    "train.epochs": "9 epochs",
}
LOSSES = {2: 2.0, 4: 1.0, 6: 1.5, 8: 1.4, 10: 1.3, 12: 1.2, 14: 1.1, 16: 0.5, 18: 0.4}


@pytest.mark.parametrize("death", [None, dies(STEP, 7)], ids=["unbroken", "killed and resumed"])
def test_rules_act_in_a_run_and_remember(tmp_path, data_root, death):
    """The best loss is that of epoch 2; a rule that forgot it would start over after epoch 3."""
    folder = tmp_path / "run"
    changes = [scripted(LOSSES)]
    status = train(folder, data_root, RULES, *changes, *([death] if death else []))
    if death:
        assert status == KILLED
        assert resume(folder, data_root, *changes) == 0
    lines = log.read_metrics(folder / log.METRICS)
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([0.01] * 4 + [0.005])  # two epochs of waiting: 3 and 4
    assert len(lines) == 5  # three: 3, 4 and 5
    assert checkpoint.best(folder).path.name == "step-00000004"
    assert checkpoint.newest(folder, print).state["progress"]["stopped"]
