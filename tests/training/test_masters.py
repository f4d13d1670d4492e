"""bf16 weights beside float32 masters: what autocast does, to the bit, over fifty steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import TINY, bits, untimed
from torch.nn import functional as F

from alexnet import recipe as recipes
from alexnet.errors import Interrupted
from alexnet.models import rows
from alexnet.models.build import begin_step, build
from alexnet.models.table import Network
from alexnet.recipe import Duration, Group, Optim
from alexnet.run import checkpoint, computing, log
from alexnet.run.device import Device
from alexnet.training import execution, groups, loop, optim, rehearsal
from alexnet.training import masters as masters_module
from alexnet.training.masters import Masters

SMALL = Network(
    "small",
    (
        rows.Conv("conv1", channels=4, kernel=3, bias=False, whitening=True),
        rows.Conv("conv2", channels=6, kernel=3, groups=2),
        rows.ReLU("relu2"),
        rows.MaxPool("pool2", kernel=3, stride=2),
        rows.BatchNorm("norm2"),
        rows.Local("local3", channels=4, kernel=2),
        rows.Flatten("flatten"),
        rows.Dropout("drop6"),
        rows.Dense("fc6", units=3),
    ),
    size=9,
    init="torch",
    summary="",
    source="",
)
HUSH = log.Console(quiet=True)


def curve(rule: dict[str, Any], *, masters: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Return the losses of fifty steps under autocast, and the float32 weights after them."""
    model = build(SMALL).train()
    apart = Masters(model) if masters else None
    called = apart.working if apart else model
    updates = optim.make(model, Optim(**rule, lr=0.01, weight_decay=1e-3))
    draw, losses = torch.Generator().manual_seed(1), []
    for step in range(50):
        x = torch.randn(6, 3, 9, 9, generator=draw)
        labels = torch.randint(3, (6,), generator=draw)
        begin_step(model, seed=0, step=step)
        groups.set_rate(updates, 1 - step / 60)
        with torch.autocast("cpu", torch.bfloat16):
            logits = called(x)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        if apart:
            apart.take_gradients(updates)
        groups.freeze(updates, step, steps_per_epoch=10, batch=6)
        execution.update(updates, apart)
        losses.append(loss.item())
    return losses, model.state_dict()


SGD = {"name": "sgd", "momentum": 0.9}


@pytest.mark.parametrize("piece", [64, masters_module.PIECE])
@pytest.mark.parametrize(
    "rule",
    [
        SGD,
        SGD | {"nesterov": True},
        SGD | {"momentum": 0.0},
        SGD | {"group": (Group(match="fc6.*", until=Duration(20, "steps")),)},
        {"name": "keras-adam"},
        {"name": "muon"},
    ],
    ids=["sgd", "nesterov", "no momentum", "frozen", "keras-adam", "muon"],
)
def test_fifty_steps_are_those_of_autocast(rule, piece, monkeypatch):
    """Whole tensors at a time, and in many pieces."""
    monkeypatch.setattr(masters_module, "PIECE", piece)
    ours, theirs = (curve(rule, masters=m) for m in (True, False))
    assert ours[0] == theirs[0]
    for name, value in theirs[1].items():
        assert torch.equal(ours[1][name], value), name
    assert len(set(ours[0])) == 50


def test_kernels_are_rounded_and_all_else_is_shared():
    model = build(SMALL)
    masters = Masters(model)
    own, narrow = (dict(of.named_parameters()) for of in (model, masters.working))
    shared = {name for name in own if own[name] is narrow[name]}
    assert shared == {"norm2.weight", "norm2.bias"}
    assert masters.working.norm2 is model.norm2
    assert masters.working.drop6 is model.drop6
    for name in own.keys() - shared:
        assert narrow[name].dtype is torch.bfloat16
        assert torch.equal(narrow[name], own[name].bfloat16())
        assert narrow[name].requires_grad == own[name].requires_grad


def test_a_rehearsal_runs_what_a_step_runs():
    """A copy of the rounded weights, so that kernels are compiled for them; of the network without any."""
    model = build(SMALL)
    for masters, dtype in ((None, torch.float32), (Masters(model), torch.bfloat16)):
        stage = SimpleNamespace(model=model, masters=masters, first=0)
        with rehearsal._copied(stage) as called:
            assert called.fc6.weight.dtype is dtype
            assert called.norm2 is not model.norm2


def test_weights_that_were_loaded_are_rounded_with_the_frozen_ones():
    model = build(SMALL)
    masters = Masters(model)
    model.load_state_dict(build(SMALL, seed=1).state_dict())
    masters.round_all()
    for wide, narrow in zip(model.parameters(), masters.working.parameters(), strict=True):
        assert torch.equal(wide.to(narrow.dtype), narrow)


def test_no_gradient_is_no_gradient():
    """A rule must not move a weight that the loss does not see, by decay or by its velocity."""
    model = build(SMALL)
    masters = Masters(model)
    masters.working.fc6.weight.grad = torch.ones_like(masters.working.fc6.weight)
    masters.take_gradients(optim.make(model, Optim(name="adam")))
    assert model.conv2.weight.grad is None
    assert torch.equal(model.fc6.weight.grad, torch.ones_like(model.fc6.weight))
    assert masters.working.fc6.weight.grad is None


# --- in a run --------------------------------------------------------------------------------

PLAN = TINY | {
    "data.train": "train[:6]",
    "data.validation": "",
    "data.test": "test[:2]",
    "train.batch": 2,
    "train.epochs": 1,
    "train.precision": "bf16",
    "train.average": 0.5,
    "evaluation.views": "centre",
}


@pytest.mark.parametrize("units", [True, False])
def test_a_run_records_which_and_resumes_to_the_same_bits(tmp_path, data_root, monkeypatch, units):
    """Where bf16 is emulated too, so that a machine without units for it tests the rest."""
    monkeypatch.setattr(Device, "matrix_rate", lambda self: 1e11)
    monkeypatch.setattr(loop, "rehearse", lambda stage, step: 1.0)
    monkeypatch.setattr(computing, "fast_bf16", lambda device: units)
    recipe = recipes.override(recipes.load("cifar10-quick"), PLAN)
    where = {"device": Device(torch.device("cpu"), "bf16"), "root": data_root, "console": HUSH}
    whole = loop.fit(recipe, tmp_path / "whole", **where)
    assert whole.record["speed"]["computing"]["weights"] == ("masters" if units else "autocast")
    real = loop.train_step

    def interrupted(stage, batch, step):
        assert (stage.masters is not None) is units
        found = real(stage, batch, step)
        if step == 1:
            raise Interrupted("here", exit_code=1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(Interrupted):
            loop.fit(
                recipes.override(recipe, {"checkpoint.every": "1 step"}), tmp_path / "run", **where
            )
    loop.fit(recipes.override(recipe, {"checkpoint.every": "1 step"}), tmp_path / "run", **where)
    a, b = (checkpoint.newest(tmp_path / name, print) for name in ("whole", "run"))
    for kind in ("weights", "optimizer"):
        found = [{n: bits(t) for n, t in getattr(of, kind).items()} for of in (a, b)]
        assert found[0] == found[1]
    assert all(t.dtype is not torch.bfloat16 for t in a.weights.values())
    again = log.read_metrics(tmp_path / "run" / log.METRICS)
    assert [*map(untimed, again)] == [*map(untimed, whole.history)]
