"""Losses that are read late: the same figures, the same errors, and nothing waits in between."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import TINY, untimed
from tape import ASKING
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet import recipe as recipes
from alexnet.data import augment
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import Interrupted, NotFinite
from alexnet.evaluation import _on_device
from alexnet.run import checkpoint, log
from alexnet.run.device import READ_EVERY, Device
from alexnet.run.ranks import ALONE
from alexnet.training import augmentation, execution, loop
from alexnet.training.losses import Losses, Taken, wide
from alexnet.training.parallel import Parallel
from alexnet.training.saving import Progress
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
MANY = TINY | {  # twenty steps an epoch
    "data.train": "train[:60]",
    "data.validation": "",
    "data.test": "test[:10]",
    "train.batch": 3,
    "evaluation.views": "centre",
}


def plan(**override):
    keys = {key.replace("__", "."): value for key, value in override.items()}
    return recipes.override(recipes.load("cifar10-quick"), MANY | {"train.epochs": 1} | keys)


pytestmark = pytest.mark.usefixtures("rate")


def read_every(monkeypatch, steps):
    monkeypatch.setattr(Device, "read_every", property(lambda self: steps))


@pytest.fixture
def fit(data_root):
    def run(folder, **override):
        return loop.fit(plan(**override), folder, device=CPU, root=data_root, console=HUSH)

    return run


def losses_of(*values, every=3, precision="float32"):
    """Return ``Losses`` of steps 7, 8, ... with these values, of five pictures each."""
    kept = Losses(Parallel(), replace(CPU, precision=precision))
    kept.every = every
    for step, value in enumerate(values, start=7):
        taken = Taken(step, 0.25, torch.arange(step, step + 5))
        kept.add(taken, torch.tensor(value, dtype=torch.double), torch.tensor(step - 6))
    return kept


# --- what is kept ----------------------------------------------------------------------------


def test_only_a_processor_that_need_not_wait_reads_every_step():
    assert CPU.read_every == 1
    assert {Device(torch.device(kind), "bf16").read_every for kind in ("cuda", "mps")} == {
        READ_EVERY
    }


def test_what_was_kept_is_read_once_in_its_order():
    kept = losses_of(2.5, 0.1)
    assert not kept.full
    assert losses_of(1.0, 1.0, 1.0).full
    assert [(s.loss, s.right, s.count) for s in kept.read()] == [(2.5, 1, 5), (0.1, 2, 5)]
    assert kept.read() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_loss_that_is_none_is_named(value):
    with pytest.raises(NotFinite) as found:
        losses_of(1.0, value, float("nan")).read()
    assert str(found.value).startswith(
        f"the loss is {value} at step 8 (learning rate 0.25, pictures 8, 9, 10, 11, ...)"
    )
    assert "float32" not in str(found.value)
    with pytest.raises(NotFinite, match=r"or set train\.precision=float32$"):
        losses_of(value, precision="bf16").read()


def test_a_loss_is_widened_where_the_device_can():
    assert wide(torch.tensor(0.1)).dtype is torch.float64
    assert float(wide(torch.tensor(0.1))) == float(torch.tensor(0.1))


# --- a run -----------------------------------------------------------------------------------


def test_a_run_that_reads_late_records_the_same(tmp_path, fit, monkeypatch):
    at_once = fit(tmp_path / "once")
    read_every(monkeypatch, 8)
    late = fit(tmp_path / "late")
    assert [*map(untimed, late.history)] == [*map(untimed, at_once.history)]
    assert late.record["test"] == at_once.record["test"]


def test_a_run_reads_no_more_often_than_it_must(tmp_path, fit, monkeypatch):
    """Twenty steps, read eight at a time, and where a checkpoint is due (every fifteen steps)."""
    reads, read = [], Losses.read

    def noted(self):
        reads.append(len(self._taken))
        return read(self)

    monkeypatch.setattr(Losses, "read", noted)
    read_every(monkeypatch, 8)
    fit(tmp_path / "run", checkpoint__every="15 steps")
    assert reads == [8, 7, 5]


def test_a_late_error_names_the_step_and_leaves_the_checkpoint(tmp_path, fit, monkeypatch):
    wild = {"optim__name": "sgd", "optim__lr": 1e20, "schedule__name": "constant"}
    texts = []
    for every in (1, 8):
        read_every(monkeypatch, every)
        with pytest.raises(NotFinite) as found:
            fit(tmp_path / str(every), **wild)
        texts.append(str(found.value))
        assert checkpoint.every(tmp_path / str(every)) == []
    assert texts[0] == texts[1]


def test_a_signal_between_two_readings_saves_what_was_seen(tmp_path, fit, monkeypatch):
    """Saved at step 3 of a window of eight, with the losses of three; resumed to the same end."""
    read_every(monkeypatch, 8)
    unbroken = fit(tmp_path / "whole")
    real = loop.train_step

    def interrupted(stage, batch, step):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(stage, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(Interrupted, match="saved at step 3"):
            fit(tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run", print).state["progress"]["sums"][2] == 9
    resumed = fit(tmp_path / "run")
    assert [*map(untimed, resumed.history)] == [*map(untimed, unbroken.history)]


# --- a step ----------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Note what would make a processor wait for a GPU: numbers, and shapes that depend on them."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ASKING:
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_control_a_number_that_is_read_is_noted():
    with Waits() as waits:
        float(torch.ones(()))
        assert torch.ones(3).sum() > 1
    assert waits.found == ["_local_scalar_dense"] * 2


@pytest.mark.parametrize("rule", ["sgd", "adam", "keras-sgd", "keras-adam", "2012", "muon"])
def test_a_step_waits_for_nothing(rule, data_root, monkeypatch):
    """On the path of an accelerator, where windows are gathered in one call and no rows are looked at."""
    monkeypatch.setattr(augment, "_inside", lambda *args: False)
    monkeypatch.setattr(execution, "way", lambda *how: "torch")
    keys = {"optim__name": rule, "optim__nesterov": False, "evaluation__penalty": True}
    more = {"augment__cutout": 4, "augment__jitter": 0.1, "train__average": 0.9}
    stage = set_up(plan(**keys, **more), CPU, data_root, HUSH)
    batch = stage.train.read(np.arange(3), CPU.torch)
    loop.train_step(stage, batch, 0)
    with Waits() as waits:
        loss, right = loop.train_step(stage, batch, 1)
    assert waits.found == []
    assert (loss.shape, right.shape) == ((), ())


def test_an_epoch_waits_where_it_reads_its_losses_and_nowhere_else(
    data_root, monkeypatch, tmp_path
):
    """Twenty steps, eight at a time: three readings, and no other number is asked for."""
    monkeypatch.setattr(augment, "_inside", lambda *args: False)
    read_every(monkeypatch, 8)
    stage = set_up(plan(), CPU, data_root, HUSH)
    progress, read = Progress(), Losses.read
    with Waits() as waits:
        monkeypatch.setattr(Losses, "read", lambda self: waits.found.append("read") or read(self))
        loop._train_epoch(stage, progress, tmp_path, HUSH, [])
    assert waits.found == ["read"] * 3
    assert progress.step == 20


def test_a_scoring_asks_for_its_numbers_at_the_end(data_root):
    stage = set_up(plan(), CPU, data_root, HUSH)
    how = {"views": "flip", "batch": 4, "ranks": ALONE, "dropout": None}
    with Waits() as waits:
        parts = list(_on_device(stage.model, stage.test, stage.preprocessing, CPU, **how))
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    assert waits.found == []


class Travels(TorchDispatchMode):
    """Count copies from the CPU to the device of shapes without memory, which stands for a GPU here."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("_to_copy", "copy_"):
            source = args[-1] if func.overloadpacket.__name__ == "copy_" else args[0]
            self.count += (source.device.type, found.device.type) == ("cpu", "meta")
        return found


@pytest.mark.parametrize("resize", ["float", "uint8"])
def test_what_travels_to_a_gpu_in_a_step_is_what_was_drawn(resize):
    """Constants travel once. What is drawn is copied from pinned memory, without waiting."""
    meta = torch.device("meta")
    asked = {"flip": "random", "crop": 2, "jitter": 0.1, "cutout": 4, "colour": 0.1}
    keys = {"data__fit": "crop"} | {f"augment__{key}": value for key, value in asked.items()}
    augments, fine = plan(**keys).augment, {"scale": "0..1", "mean": (0.4, 0.5, 0.6)}
    prepared = Preprocessing(32, 48, resize=resize, mean_picture=torch.ones(32, 32, 3), **fine)
    prepared, noise = prepared.on(meta), torch.eye(3, device=meta)
    pictures = torch.zeros(3, 32, 32, 3, dtype=torch.uint8, device=meta)
    for _ in range(2):
        draw = torch.Generator().manual_seed(0)
        draws = augmentation.draw(augments, prepared, torch.arange(3), 0, draw)
        with Travels() as travels:
            augmentation.apply(augments, prepared, noise, pictures, draws)
    assert travels.count == sum(value is not None for value in vars(draws).values()) == 5


def test_draws_go_where_the_pictures_are():
    every = augmentation.Draws(*(torch.zeros(2, 2) for _ in range(6)))
    assert {t.device.type for t in vars(every.on(torch.device("meta"))).values()} == {"meta"}
