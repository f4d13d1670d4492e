"""The loop against a bare one, its stops, and what it records."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import re
import signal
import sys
import time
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
from processes import TINY
from torch import nn
from torch.nn import functional as F

import alexnet
from alexnet import cli
from alexnet import recipe as recipes
from alexnet.data import order
from alexnet.data.loader import read_portion
from alexnet.data.sources import open_dataset
from alexnet.errors import (
    AlexNetError,
    CheckpointError,
    DataError,
    Interrupted,
    NotFinite,
    RecipeError,
    UsageError,
)
from alexnet.models import table
from alexnet.models.kernels import native
from alexnet.reporting import running
from alexnet.reporting.cards import result_text
from alexnet.run import checkpoint, classifier, files, folders, log
from alexnet.run.device import Device, environment
from alexnet.training import guard, lines, loop, losses, measured, record, saving
from alexnet.training import learner as learner_module
from alexnet.training import stage as stage_module
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
SMALL = TINY | {"data.train": "train[:40]", "train.batch": 10, "evaluation.views": "centre"}


def plan(**override):
    keys = {key.replace("__", "."): value for key, value in override.items()}
    return recipes.override(recipes.load("cifar10-quick"), SMALL | keys)


pytestmark = pytest.mark.usefixtures("rate")


@pytest.fixture
def fit(data_root):
    def run(folder, **override):
        return loop.fit(plan(**override), folder, device=CPU, root=data_root, console=HUSH)

    return run


def test_either_kind_of_convolution_learns_the_same(tmp_path, fit, monkeypatch):
    changes = {"optim__name": "sgd", "optim__lr": 0.001, "train__epochs": "8 steps"}
    curves = {}
    for kind in ("direct", "auto"):
        done = fit(tmp_path / kind, train__convolutions=kind, **changes)
        curves[kind] = done.record["test"]["loss"]
        said = done.record["speed"]["computing"]["convolutions"]
        assert said == "direct" if kind == "direct" else said.startswith(("winograd", "direct ("))
    assert curves["auto"] == pytest.approx(curves["direct"], rel=1e-3)


# --- against a bare loop ---------------------------------------------------------------------

PLAIN = {
    "optim__name": "sgd",
    "optim__lr": 0.01,
    "optim__momentum": 0.9,
    "optim__nesterov": True,
    "optim__weight_decay": 5e-4,
    "schedule__name": "constant",
    "augment__flip": "none",
    "augment__crop": 0,
    "model__dropout": 0.0,
    "train__epochs": "20 steps",
    "train__label_smoothing": 0.1,
    "train__convolutions": "direct",
    "data__validation": "",
}


def bare_network():
    """``alexnet-cifar`` in plain torch, written out."""

    def conv(inputs, outputs, pool):
        pools = [nn.MaxPool2d(3, 2)] if pool else []
        layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pools]
        return [*layers, nn.BatchNorm2d(outputs, momentum=0.4), nn.ReLU()]

    def dense(inputs, outputs):
        return [
            nn.Linear(inputs, outputs, bias=False),
            nn.BatchNorm1d(outputs, momentum=0.4),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *conv(3, 64, pool=True),
        *conv(64, 96, pool=True),
        *conv(96, 160, pool=False),
        *conv(160, 160, pool=False),
        *conv(160, 160, pool=True),
        nn.Flatten(),
        *dense(160 * 3 * 3, 512),
        *dense(512, 512),
        nn.Linear(512, 10),
    )


def test_same_losses_as_a_bare_torch_loop(tmp_path, data_root, fit, monkeypatch):
    """Over 20 steps, to the last bit: nothing is done beside or between what a plain loop does.

    With the same kernels (channels last, fused), because at this rate a last bit that differs
    grows tenfold a step: it moves a ReLU to its other side.
    """
    ours = []
    step = loop.train_step

    def noted(*args):
        found = step(*args)
        ours.append(found[0])
        return found

    monkeypatch.setattr(loop, "train_step", noted)
    fit(tmp_path / "run", **PLAIN)
    dataset = open_dataset("shapes", root=data_root)
    labels = torch.tensor(dataset.parts["train"].labels[:40])
    stage = set_up(plan(**PLAIN), CPU, data_root, HUSH)
    x = stage.preprocessing(torch.tensor(dataset.parts["train"].images[:40]))

    model = bare_network()
    start = stage.model.state_dict()
    model.load_state_dict(dict(zip(model.state_dict(), start.values(), strict=True)))
    model.to(memory_format=torch.channels_last)
    model[0].weight.requires_grad_(False)  # whitening
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.weight.requires_grad_(False)
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in learned if p.ndim == 1]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, fused=True)
    theirs = []
    for epoch in range(5):
        for some in torch.from_numpy(order.order(40, 0, epoch)).split(10):
            loss = F.cross_entropy(model(x[some]), labels[some], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            theirs.append(loss.item())
    assert len(ours) == 20
    assert ours == theirs
    assert ours[-1] < ours[0]


# --- rare classes ----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_weighs_each_picture_by_its_class(smoothing):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, generator=draw, dtype=torch.double)
    labels, weights = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2]), torch.tensor([0.5, 1.5, 3.0]).double()
    log_p = torch.log(logits.exp() / logits.exp().sum(1, keepdim=True))
    target = F.one_hot(labels, 3) * (1 - smoothing) + smoothing / 3
    expected = sum(weights[y] * -(t * p).sum() for y, t, p in zip(labels, target, log_p)) / 8  # noqa: B905
    got = losses.mean_loss(logits, labels, smoothing, weights)
    torch.testing.assert_close(got, expected)
    even = losses.mean_loss(logits, labels, smoothing, torch.ones(3).double())
    torch.testing.assert_close(even, losses.mean_loss(logits, labels, smoothing, None))


# --- numbers that are none -------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["sgd", "keras-adam"])
def test_a_loss_that_is_none_stops_with_step_and_rate(tmp_path, fit, rule):
    with pytest.raises(NotFinite) as found:
        fit(
            tmp_path / "run",
            optim__name=rule,
            optim__lr=1e20,
            schedule__name="constant",
            checkpoint__every="1 step",
        )
    text = str(found.value)
    step = int(text.split(" at step ")[1].split()[0])
    assert 1 <= step <= 3, "within a step or two"
    assert "learning rate 1e+20" in text
    assert "Lower optim.lr" in text
    assert found.value.exit_code == 1
    saved = checkpoint.newest(tmp_path / "run", print)  # what was saved before is whole
    assert saved.state["progress"]["step"] <= step
    assert all(bool(t.isfinite().all()) for t in saved.weights.values())


@pytest.mark.parametrize("rule", ["sgd", "keras-adam", "muon"])
def test_a_tiny_rate_raises_no_alarm(tmp_path, fit, rule):
    result = fit(tmp_path / "run", optim__name=rule, optim__lr=1e-10, train__epochs="1 epoch")
    assert math.isfinite(result.history[0]["train_loss"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_none_are_not_saved(tmp_path, fit, monkeypatch, value):
    """The loss of a step is found before its update; the update itself may go wrong."""
    step = loop.train_step

    def spoils(stage, batch, number):
        found = step(stage, batch, number)
        if number == 2:
            with torch.no_grad():
                stage.model.fc8.bias[3] = value
        return found

    monkeypatch.setattr(loop, "train_step", spoils)
    with pytest.raises(NotFinite, match=r"after step 3; they were not saved"):
        fit(tmp_path / "run", checkpoint__every="1 step")
    assert checkpoint.newest(tmp_path / "run", print).path.name == "step-00000002"


# --- memory ----------------------------------------------------------------------------------


def test_steps_leave_nothing_behind(data_root):
    """One object, or one number on the device, that every step leaves would be sixty."""
    stage = set_up(plan(train__batch=2, optim__name="sgd", optim__lr=1e-6), CPU, data_root, HUSH)
    batch = read_portion(stage.train, np.arange(2), 0, 1, CPU.torch)
    taken = losses.Losses(stage.parallel, CPU)

    def after(begin, end):
        for step in range(begin, end):
            taken.add(loop._taken(stage, batch, step), *loop.train_step(stage, batch, step))
        taken.read()
        gc.collect()
        alive = [each for each in gc.get_objects() if type(each) in (torch.Tensor, nn.Parameter)]
        dense = [each for each in alive if each.layout is torch.strided]  # other tests left others
        return len(gc.get_objects()), sum(each.nbytes for each in dense)

    (objects, held), (later, still) = after(0, 10), after(10, 70)
    assert later < objects + 30
    assert still <= held


# --- being stopped ---------------------------------------------------------------------------


@pytest.fixture
def signalled(monkeypatch):
    """Return a function that lets a signal arrive during a step."""

    def at(number, count=1, step=2):
        real = loop.train_step

        def interrupted(stage, batch, done):
            if done == step:
                for _ in range(count):
                    signal.raise_signal(number)
            return real(stage, batch, done)

        monkeypatch.setattr(loop, "train_step", interrupted)

    return at


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_gives_the_handlers_back(
    tmp_path, fit, signalled, number, status
):
    folder = tmp_path / "run"
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    signalled(number)
    with pytest.raises(Interrupted, match=f"{number.name}: saved at step 3") as found:
        fit(folder)
    assert found.value.exit_code == status
    assert str(found.value).endswith(log.resume_command(folder))
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    progress = checkpoint.newest(folder, print).state["progress"]
    assert (progress["step"], progress["sums"][2]) == (3, 30)


def test_a_second_signal_stops_at_once(tmp_path, fit, signalled):
    before = signal.getsignal(signal.SIGINT)
    signalled(signal.SIGINT, count=2)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.every(tmp_path / "run") == []


def test_a_signal_behind_the_last_picture_finishes_the_run_and_stops_what_comes_after(
    tmp_path, fit, monkeypatch
):
    real = record.speed

    def interrupted(*args):
        signal.raise_signal(signal.SIGTERM)
        return real(*args)

    monkeypatch.setattr(record, "speed", interrupted)
    with pytest.raises(Interrupted, match=r"SIGTERM: .* is finished; its result is in .*run") as e:
        fit(tmp_path / "run", train__epochs="1 epoch")
    assert e.value.exit_code == 143
    assert record.read_result(tmp_path / "run").history


SCORED = {
    "evaluation__batch": 10,
    "evaluation__precise_bn": 40,
}  # of 50 pictures each: five batches
HEADED = {key.replace(".", "__"): value for key, value in processes.HEAD.items()}
SOFTENED = {"schedule__name": "plateau", "schedule__patience": 1, "train__early_stopping": 5}


@pytest.mark.parametrize(
    ("keys", "at", "step"),
    [
        (SCORED, 2, 4),  # the first epoch is being validated
        (SCORED | SOFTENED, 2, 4),
        (SCORED | {"checkpoint__every": "1 step"}, 7, 8),  # the last one
        (SCORED, 12, 8),  # the test part is being scored
        (SCORED, 18, 8),  # again, behind batch norm's statistics taken anew
        (HEADED | {"evaluation__batch": 10}, 1, 4),
        (HEADED | {"evaluation__batch": 10}, 5, 8),
    ],
)
def test_a_signal_between_the_pictures_of_a_scoring_stops_there_and_nothing_is_other(
    tmp_path, fit, monkeypatch, keys, at, step
):
    whole = fit(tmp_path / "whole", **keys)
    calls = 0

    def heed(asked):
        check = guard.heed(asked)

        def between():
            nonlocal calls
            if (calls := calls + 1) == at:
                signal.raise_signal(signal.SIGTERM)
            check()

        return between

    monkeypatch.setattr(loop, "guard", SimpleNamespace(**vars(guard) | {"heed": heed}))
    with pytest.raises(Interrupted, match=f"SIGTERM: saved at step {step}") as found:
        fit(tmp_path / "broken", **keys)
    assert found.value.exit_code == 143
    assert calls == at, "no batch more"
    assert not (tmp_path / "broken" / record.RESULT).exists()
    saved = checkpoint.newest(tmp_path / "broken", print).state["progress"]
    assert saved["step"] == step
    broken = fit(tmp_path / "broken", **keys)
    assert processes.trace(broken.folder) == processes.trace(whole.folder)


def test_an_epoch_that_was_left_unscored_has_one_line_however_often_the_run_dies(
    tmp_path, fit, signalled, monkeypatch
):
    whole = fit(tmp_path / "whole")
    signalled(signal.SIGINT, step=3)
    with pytest.raises(Interrupted, match="SIGINT: saved at step 4"):
        fit(tmp_path / "run")

    def dies(*_):
        raise KeyboardInterrupt

    signalled(signal.SIGINT, step=-1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "run")
    assert len(log.read_metrics(tmp_path / "run" / log.METRICS)) == 1, "written, and not saved"
    assert processes.trace(fit(tmp_path / "run").folder) == processes.trace(whole.folder)


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_no_scoring(tmp_path, fit, signalled):
    whole = fit(tmp_path / "whole")
    signalled(signal.SIGINT, step=3)
    with pytest.raises(Interrupted, match="SIGINT: saved at step 4"):
        fit(tmp_path / "run")
    assert not log.read_metrics(tmp_path / "run" / log.METRICS)
    signalled(signal.SIGINT, step=-1)
    assert processes.trace(fit(tmp_path / "run").folder) == processes.trace(whole.folder)


# --- whose folder ----------------------------------------------------------------------------


def test_a_folder_that_holds_anything_is_not_written_to(tmp_path, data_root):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for what, hint in (("files", ""), ("a run", "alexnet resume")):
        with pytest.raises(UsageError, match=f"holds {what} already; choose another --out") as e:
            alexnet.train(plan(), folder, data_root=data_root, console=HUSH)
        assert hint in str(e.value)
        assert e.value.exit_code == 2
        (folder / record.RECIPE).write_text(recipes.to_toml(plan()))
    assert {path.name for path in folder.iterdir()} == {"notes.txt", record.RECIPE}
    with pytest.raises(UsageError, match="is a file; choose another --out"):
        alexnet.train(plan(), folder / "notes.txt", data_root=data_root, console=HUSH)


@pytest.mark.parametrize("name", ["statistics.safetensors", "environment.json", "recipe.toml"])
def test_a_folder_whose_run_never_had_a_recipe_is_taken(tmp_path, fit, name):
    """What lies there is of no run: neither read nor kept, be it of other pictures."""
    folder, write = tmp_path / "run", files.write_bytes

    def full(path, content):
        if path.name == name:
            path.with_name(f".{name}.1.tmp").write_bytes(content[:3])  # as a kill leaves it
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        for place in (files, measured):
            patch.setattr(place, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            fit(folder, input__mean="channel")
    (folder / "intake.json").write_text("{}")
    folders.refuse_taken(folder)
    fit(folder, input__mean="channel", data__train="train[:30]", train__epochs="1 epoch")
    assert measured.read(folder / measured.STATISTICS).count == 30
    assert not (folder / "intake.json").exists()
    assert not [*folder.glob(".*.tmp")]
    with pytest.raises(UsageError, match="holds a run already"):
        folders.refuse_taken(folder)


def test_a_folder_of_another_run_is_refused(tmp_path, fit, signalled):
    signalled(signal.SIGTERM)
    with pytest.raises(Interrupted):
        fit(tmp_path / "run")
    with pytest.raises(UsageError, match="holds another run; choose another --out"):
        fit(tmp_path / "run", train__seed=1)


def test_a_run_of_an_older_version_goes_on(tmp_path, fit, signalled):
    """Keys are added with time: a folder whose recipe lacks one asks for what is the default today."""
    signalled(signal.SIGTERM)
    with pytest.raises(Interrupted):
        fit(tmp_path / "run")
    text = (tmp_path / "run" / record.RECIPE).read_text()
    assert text.count("precise_bn = 0\n") == 1
    (tmp_path / "run" / record.RECIPE).write_text(text.replace("precise_bn = 0\n", ""))
    assert fit(tmp_path / "run").record["test"]["count"] == 50


def test_a_run_that_goes_on_elsewhere_says_so_and_its_record_names_both(
    tmp_path, fit, signalled, data_root, monkeypatch, capsys
):
    folder, there = tmp_path / "run", dict(environment(CPU))
    there |= {"hardware": "a GPU", "device": "cuda:1", "packages": {"torch": "9.0"}}
    signalled(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(record, "environment", lambda device: there)
        with pytest.raises(Interrupted):
            fit(folder)
    capsys.readouterr()
    result = loop.fit(plan(), folder, device=CPU, root=data_root, console=log.Console())
    here = environment(CPU)
    told = capsys.readouterr().err
    assert "hardware a GPU, now " in told
    assert f"device cuda, now cpu; torch 9.0, now {torch.__version__}" in told
    assert "precision" not in told.partition("\n")[0]
    kinds = [(m["hardware"], m["device"], m["torch"]) for m in result.record["machines"]]
    assert kinds == [("a GPU", "cuda", "9.0"), (here["hardware"], "cpu", torch.__version__)]
    card = result_text(folder, result.record)
    assert f"  trained on a GPU (cuda, float32, torch 9.0)\n  trained on {here['hardware']}" in card


def test_threads_are_those_that_it_goes_on_with(tmp_path, fit, signalled, monkeypatch):
    signalled(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "Progress", partial(saving.Progress, threads=7))
        with pytest.raises(Interrupted):
            fit(tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run", print).state["progress"]["threads"] == 7
    fit(tmp_path / "run")
    found = checkpoint.newest(tmp_path / "run", print).state["progress"]["threads"]
    assert found == torch.get_num_threads()


def test_a_run_that_goes_on_where_it_began_names_one_machine(tmp_path, fit, signalled):
    signalled(signal.SIGTERM)
    with pytest.raises(Interrupted):
        fit(tmp_path / "run")
    assert "machines" not in fit(tmp_path / "run").record


# --- besides ---------------------------------------------------------------------------------


def test_statistics_taken_anew_are_scored_besides(tmp_path, fit, data_root):
    """With all training pictures in a batch: what ``alexnet.evaluate`` takes from them; the rest stays."""
    plain, both = (
        fit(tmp_path / str(n), evaluation__precise_bn=n, train__batch=40) for n in (0, 100)
    )
    assert both.record["test"] == plain.record["test"]
    assert both.history[-1]["val_loss"] == plain.history[-1]["val_loss"]
    assert list(both.record["test_views"]) == ["centre", "centre, precise BN"]
    run, kept = str(both.folder), both.record["test_views"]
    how = {"data_root": data_root, "precision": "float32"}
    anew = alexnet.evaluate(run, precise_bn="shapes/train[:40]", **how)
    assert kept["centre, precise BN"] == json.loads(json.dumps(anew.summary()))
    assert kept["centre"] == json.loads(json.dumps(alexnet.evaluate(run, **how).summary()))
    assert kept["centre"]["loss"] != kept["centre, precise BN"]["loss"]


def test_fewer_pictures_are_other_statistics(tmp_path, fit):
    found = [
        fit(tmp_path / str(n), evaluation__precise_bn=n).record["test_views"]["centre, precise BN"]
        for n in (2, 20, 40, 100)
    ]
    losses = [scores["loss"] for scores in found]
    assert len(set(losses)) == 3
    assert losses[2] == losses[3]  # there are forty


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation__precise_bn": 1}, "precise_bn = 1: a variance needs two pictures"),
        ({"model__network": "one-tower", "input__size": 67}, "one-tower has no batch norm; set it"),
        ({"model__frozen": ["conv1"]}, r"model.frozen = \['conv1'\] keeps rows as they came"),
    ],
)
def test_statistics_that_could_not_be_taken_are_refused_first(tmp_path, fit, changes, said):
    with pytest.raises(RecipeError, match=said):
        fit(tmp_path / "run", **{"evaluation__precise_bn": 5000} | changes)
    assert not (tmp_path / "run").exists()


# --- what cannot be trained ------------------------------------------------------------------


def test_a_batch_of_one_picture_before_a_batch_norm_is_refused_before_the_run(tmp_path, fit):
    with pytest.raises(RecipeError, match="leaves a batch of one of 40 training pictures"):
        fit(tmp_path / "run", train__batch=13, train__drop_last=False)  # 39 and one
    assert not (tmp_path / "run" / record.RECIPE).exists()
    fit(tmp_path / "run", train__batch=13, train__drop_last=True, train__epochs="1 epochs")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_gives_no_whole_batch_to_score_is_refused_first(tmp_path, fit, split):
    keys = {f"data__{split}": "test[:30]", "evaluation__batch": 40, "evaluation__drop_last": True}
    others = {"data__test": "train[50:99]", "data__validation": "train[50:99]"}
    with pytest.raises(RecipeError, match=rf"40 is more than the 30 pictures of data\.{split} = "):
        fit(tmp_path / "run", **others | keys)
    assert not (tmp_path / "run" / record.RECIPE).exists()


def test_more_of_the_first_than_there_are_classes_are_no_score(data_root):
    stage = set_up(plan(evaluation__top=[1, 3, 99]), CPU, data_root, HUSH)
    assert stage.score(stage.test).top.keys() == {1, 3}


@pytest.mark.parametrize("key", ["model", "weights", "memory"])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, fit, signalled, key):
    folder = tmp_path / "run"
    signalled(signal.SIGTERM)
    with pytest.raises(Interrupted):
        fit(folder, optim__name="keras-adam")
    saved = checkpoint.newest(folder, print)
    other, message = {
        "model": (changed(saved, model=saved.model | {"network": "x"}), "holds network 'x'"),
        "weights": (
            changed(saved, weights=saved.weights | {"fc8.bias": torch.zeros(7)}),
            r"'fc8.bias' has shape \(7,\), expected \(10,\): it is of another network",
        ),
        "memory": (
            changed(saved, optimizer=saved.optimizer | {"fc8.bias/exp_avg": torch.zeros(7)}),
            "'fc8.bias/exp_avg' is of another network",
        ),
    }[key]
    checkpoint.save(folder, other)
    with pytest.raises(CheckpointError, match=message):
        fit(folder, optim__name="keras-adam")


def test_two_processes_do_not_train_in_one_folder(tmp_path, data_root):
    folder = tmp_path / "run"
    first = processes.start(processes._train, folder, data_root, {}, [sleeps])
    while not (folder / record.RECIPE).exists():
        assert first.is_alive()
        time.sleep(0.01)
    with pytest.raises(UsageError, match="another process is training in"):
        alexnet.resume(folder, data_root=data_root, device="cpu", console=HUSH)
    first.kill()
    first.join()
    assert processes.resume(folder, data_root) == 0  # the dead hold no lock


def sleeps() -> None:
    processes.replace("alexnet.training.loop", "train_step", with_=lambda *a: time.sleep(60))


def test_what_cannot_be_done_is_said_before_anything_is_written(tmp_path, fit):
    wrong = {
        "share 40 pictures": {"data__validation": "train[:50]"},
        "train.batch = 50 is more than the 40": {"train__batch": 50},
        "vanishes at layer": {"input__size": 8},
    }
    for message, keys in wrong.items():
        with pytest.raises(UsageError, match=message):
            fit(tmp_path / "run", **keys)
    assert issubclass(RecipeError, UsageError)
    assert not (tmp_path / "run").exists()


# --- through the command line ----------------------------------------------------------------


def command(monkeypatch, root, *arguments, **override):
    """Run ``alexnet`` in this process; returns its exit status."""
    sets = [f"--set={k}={v}" for k, v in (SMALL | override).items()]
    monkeypatch.setattr(sys, "argv", ["alexnet", *arguments, "--data", str(root), *sets])
    with pytest.raises(SystemExit) as found:
        cli.main()
    return found.value.code


def test_the_command_line_ends_with_the_error_s_status(tmp_path, data_root, monkeypatch, capsys):
    call = ("train", "cifar10-quick", "--quiet", "--device", "cpu", "--out", str(tmp_path / "run"))
    wild = {"optim.name": "sgd", "optim.lr": "1e20", "schedule.name": "constant"}
    assert command(monkeypatch, data_root, *call, **wild) == 1
    text = capsys.readouterr().err
    assert text.startswith("alexnet: the loss is ")
    assert "learning rate 1e+20" in text
    assert command(monkeypatch, data_root, *call) == 2
    assert "holds a run already; choose another --out" in capsys.readouterr().err


# --- what is recorded ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "matrix_rate", lambda self: 1e11)
        chosen = plan(
            train__epochs="10 steps",
            checkpoint__every="3 steps",
            evaluation__keep="best",
            optim__lr=0.5,
            published={
                "source": "a test",
                "protocol": "none",
                "test_accuracy": 0.5,
            },
        )
        return loop.fit(
            chosen, folder, device=CPU, root=data_root, console=HUSH, command="alexnet train x"
        )


def test_result_holds_what_was_measured_and_on_what(finished):
    found = json.loads((finished.folder / record.RESULT).read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(finished.record))
    assert list(found) == [
        "recipe",
        "command",
        "seed",
        "changed",
        "settings",
        "test",
        "test_views",
        "scored",
        "verdict",
        "speed",
        "memory",
        "environment",
        "commit",
        "date",
        "history",
    ]
    assert (found["recipe"], found["command"], found["seed"]) == (
        "cifar10-quick",
        "alexnet train x",
        0,
    )
    assert found["test"]["count"] == 50
    assert found["environment"]["precision"] == "float32"
    assert finished.history == log.read_metrics(finished.folder / log.METRICS)
    assert record.read_result(finished.folder).record == found


def test_a_card_of_two_classes_has_no_top_three(finished):
    test = finished.record["test"] | {"top": {"1": 0.5}}
    card = result_text(finished.folder, finished.record | {"test": test})
    assert re.search(r"test pictures \(95 % interval [^)]*\), loss \d", card)


def test_history_has_a_line_an_epoch_and_one_for_a_part(finished):
    assert [(line["epoch"], line["step"]) for line in finished.history] == [(1, 4), (2, 8), (3, 10)]
    for line in finished.history:
        assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} < line.keys()
        assert {"learning_rate", "seconds", "images_per_second"} < line.keys()
    seconds = [line["seconds"] for line in finished.history]
    assert seconds == sorted(seconds)
    assert finished.record["speed"]["training_seconds"] == seconds[-1]


def test_the_line_of_a_part_of_an_epoch_counts_its_own_steps(finished, data_root):
    stage = set_up(finished.recipe, CPU, data_root, HUSH)
    said = [re.findall(r"(\d+) steps", lines.epoch(stage, line)) for line in finished.history]
    assert said == [["4"], ["4"], ["2"]]


def test_speed_is_multiply_adds_times_pictures(finished):
    """Counted by hand: filters x inputs x 9 x positions, and inputs x units."""
    whitening = 64 * 3 * 9 * 32**2  # not learned: forward only
    learned = (
        96 * 64 * 9 * 15**2
        + (160 * 96 + 2 * 160 * 160) * 9 * 7**2
        + 160 * 3**2 * 512
        + 512 * 512
        + 512 * 10
    )
    found = finished.record["speed"]
    assert found["pictures"] == 100  # ten steps of ten
    assert found["training_multiply_adds"] == 100 * (whitening + 3 * learned)
    seconds = found["training_seconds"]
    assert found["images_per_second"] == pytest.approx(100 / seconds)
    assert found["matrix_rate_flops"] == 1e11
    share = 2 * 100 * (whitening + 3 * learned) / (seconds * 1e11)
    assert found["share_of_matrix_rate"] == pytest.approx(share)
    assert found["peak_memory_bytes"] > 1e7 or sys.platform == "win32"


@pytest.mark.parametrize(
    ("keys", "steps", "pictures"),
    [
        ({}, 8, 80),
        ({"train__drop_last": False, "data__train": "train[:35]"}, 8, 70),
        ({"train__drop_last": True, "data__train": "train[:35]"}, 6, 60),
        ({"train__drop_last": False, "data__train": "train[:35]"}, 5, 45),
    ],
)
def test_pictures_are_counted_once_each_time(data_root, keys, steps, pictures):
    stage = set_up(plan(**keys), CPU, data_root, HUSH)
    assert record.speed(stage, 2.0, 1e11, steps)["pictures"] == pictures
    total = table.totals(table.trace(stage.model.network)).training_multiply_adds
    assert record.speed(stage, 2.0, 1e11, steps)["training_multiply_adds"] == pictures * total


def test_verdict_sets_ours_beside_the_published(finished):
    ours = finished.record["test"]["accuracy"]
    found = finished.record["verdict"]
    low, high = found["interval"]
    assert (found["published"], found["measured"]) == (0.5, ours)
    assert found["difference"] == ours - 0.5
    assert found["met"] is None  # the recipe was changed: not the published protocol
    assert 0 < low < ours < high < 1
    assert record.verdict(plan(), None) is None


@pytest.mark.parametrize("published", [0.2, 0.3])
def test_an_unchanged_recipe_meets_its_number_or_does_not(finished, published):
    block = {"source": "a test", "protocol": "none", "test_accuracy": published}
    unchanged = recipes.check({"name": "mine", "summary": "", "published": block})
    scores = SimpleNamespace(accuracy=0.25, interval=(0.2, 0.3), loss=1.0, top={})
    assert record.verdict(unchanged, scores)["met"] is (published == 0.2)


@pytest.mark.parametrize(
    ("keys", "met"),
    [
        ({"test_accuracy": 0.26}, False),
        ({"test_accuracy": 0.26, "tolerance": 0.02}, True),
        ({"test_accuracy": 0.25, "test_top3": 0.50}, True),
        ({"test_accuracy": 0.25, "test_top3": 0.51}, False),
        ({"test_accuracy": 0.26, "test_top3": 0.51, "tolerance": 0.02}, True),
    ],
)
def test_a_tolerance_and_the_top_three(keys, met):
    block = {"source": "a test", "protocol": "none", **keys}
    unchanged = recipes.check({"name": "mine", "summary": "", "published": block})
    scores = SimpleNamespace(accuracy=0.25, interval=(0.2, 0.3), loss=1.0, top={1: 0.25, 3: 0.5})
    found = record.verdict(unchanged, scores)
    assert (found["met"], found["tolerance"]) == (met, keys.get("tolerance", 0.0))
    assert (found["published_top3"], found["measured_top3"]) == (keys.get("test_top3"), 0.5)


def test_the_best_weights_are_those_that_were_validated_and_are_tested(finished, data_root):
    """Saving goes on every third step, between validations; BEST must not be one of those."""
    best = min(finished.history, key=lambda line: line["val_loss"])
    saved = checkpoint.best(finished.folder)
    assert saved.path.name == f"step-{best['step']:08d}"
    model = classifier.restore(saved)
    again = {"device": "cpu", "precision": "float32", "data_root": data_root}
    validated = alexnet.evaluate(model, "shapes/train[100:150]", **again)
    assert validated.loss == pytest.approx(best["val_loss"], abs=1e-6)
    tested = alexnet.evaluate(model, "shapes/test[:50]", **again)
    assert tested.loss == pytest.approx(finished.record["test"]["loss"], abs=1e-6)


def test_the_best_is_saved_when_it_is_found(tmp_path, fit, monkeypatch):
    """Not at the next occasion, two steps later, with weights that nobody has validated."""
    real, losses = loop.validate, iter([1.0, 2.0])
    monkeypatch.setattr(loop, "validate", lambda stage: changed(real(stage), loss=next(losses)))
    folder = tmp_path / "run"
    fit(folder, train__epochs="2 epochs", checkpoint__every="3 steps", evaluation__keep="best")
    assert checkpoint.best(folder).path.name == "step-00000004"
    assert (folder / checkpoint.LAST).read_text() == "step-00000008"


def test_a_disk_that_fills_up_before_best_is_named_costs_nothing(tmp_path, fit, monkeypatch):
    """The state that is saved knows its best; a run of before, whose does not, goes on as it did."""
    losses = iter([1.0, 2.0])
    validate, write = loop.validate, checkpoint.write_text
    monkeypatch.setattr(loop, "validate", lambda stage: changed(validate(stage), loss=next(losses)))

    def full(path, text):
        if path.name == checkpoint.BEST:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(checkpoint, "write_text", full)
    with pytest.raises(CheckpointError, match="no space left"):
        fit(tmp_path / "run", train__epochs="2 epochs", evaluation__keep="best")
    monkeypatch.setattr(checkpoint, "write_text", write)
    fit(tmp_path / "run", train__epochs="2 epochs", evaluation__keep="best")
    assert checkpoint.best(tmp_path / "run").path.name == "step-00000004"
    before = saving.Progress(step=4, best=1.0).to_json()
    del before["best_step"]
    assert saving.Progress.from_json(before).best_step == 0


def test_the_folder_says_what_was_done_with_what(finished, data_root):
    folder = finished.folder
    assert record.read_recipe(folder) == finished.recipe
    splits = json.loads((folder / record.SPLITS).read_text())
    assert splits["data"] == "shapes"
    assert splits["fingerprint"] == open_dataset("shapes", root=data_root).fingerprint
    assert splits["indices"] == {
        "train": [*range(40)],
        "validation": [*range(100, 150)],
        "test": [*range(50)],
    }
    environment = json.loads((folder / record.ENVIRONMENT).read_text())
    assert environment["device"] == "cpu"


def test_a_finished_run_is_not_run_again(finished, data_root, monkeypatch):
    monkeypatch.setattr(running, "fit", None)
    monkeypatch.setattr(running, "draw", lambda *_: [])
    assert alexnet.resume(finished.folder, data_root=data_root, console=HUSH) == finished


def test_what_is_no_finished_run_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=f"holds no run: it has no {record.RECIPE}"):
        alexnet.resume(tmp_path, console=HUSH)
    (tmp_path / record.RECIPE).write_text(recipes.to_toml(plan()))
    with pytest.raises(AlexNetError, match="is not finished; `alexnet resume"):
        record.read_result(tmp_path)


def test_a_new_folder_is_nobody_elses_and_goes_again_where_nothing_was_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with folders.new_folder("x") as first, folders.new_folder("x") as second:
        assert [f.as_posix() for f in (first, second)] == ["runs/x", "runs/x-2"]
        assert first.is_dir()
        (second / "recipe.toml").touch()
    with folders.new_folder("x") as third, folders.new_folder("x") as fourth:
        assert [f.as_posix() for f in (third, fourth)] == ["runs/x", "runs/x-3"]
    assert [path.name for path in Path("runs").iterdir()] == ["x-2"]


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, data_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="unknown split"):
        alexnet.train(plan(data__test="tset"), device="cpu", data_root=data_root, console=HUSH)
    assert not any(tmp_path.iterdir())


def test_load_gives_the_weights_that_the_recorded_score_is_of(fit, tmp_path, monkeypatch):
    """The recipe keeps the best; the last checkpoint is another one."""
    real, losses = loop.validate, iter([1.0, 2.0])
    monkeypatch.setattr(loop, "validate", lambda stage: changed(real(stage), loss=next(losses)))
    folder = tmp_path / "run"
    fit(folder, train__epochs="2 epochs", evaluation__keep="best")
    best, last = ((folder / name).read_text(encoding="utf-8") for name in ("BEST", "LAST"))
    assert best != last
    assert alexnet.load(folder).origin == str(folder / "checkpoints" / best)


def test_a_run_does_not_go_on_with_other_data(fit, tmp_path):
    folder = tmp_path / "run"
    fit(folder)
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "fingerprint": "other"}))
    (folder / "result.json").unlink()
    with pytest.raises(DataError, match="began with shapes of fingerprint other"):
        fit(folder)


def test_a_machine_that_cannot_compile_is_told_so(fit, tmp_path, monkeypatch):
    def broken(model):
        def forward(x):
            raise torch._dynamo.exc.TorchDynamoException("No working C++ compiler found\nand more")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        UsageError, match=r"not work on this machine \(No working C\+\+ compiler found\)"
    ):
        fit(tmp_path / "run", train__compile=True)


@pytest.mark.skipif(os.name != "posix", reason="torch looks for a compiler of its own there")
def test_a_machine_without_a_compiler_is_told_so_before_anything_is_written(
    fit, tmp_path, monkeypatch
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(native, "COMPILERS", ("no-such-compiler",))
    with pytest.raises(UsageError, match=r"\(no C\+\+ compiler \(no-such-compiler\) on this"):
        fit(tmp_path / "run", train__compile=True)
    assert not (tmp_path / "run").exists()


def test_pictures_are_prepared_for_whitening_only_where_a_layer_asks(monkeypatch, data_root):
    whitened = []
    monkeypatch.setattr(learner_module, "whiten_first", lambda model, x: whitened.append(x))
    for network, size in (("keras-lab", 67), ("alexnet-cifar", 32)):
        changes = {"model__network": network, "input__size": size}
        stage_module.set_up(plan(**changes), CPU, data_root, HUSH)
        assert len(whitened) == (network == "alexnet-cifar")
