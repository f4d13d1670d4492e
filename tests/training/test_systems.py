"""The published systems, each for a few steps on a few pictures, and what they ask of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import SHAPES

import alexnet
from alexnet import recipe as recipes
from alexnet.models import table, zoo
from alexnet.reporting.cards import result_text
from alexnet.run import classifier, log
from alexnet.run.device import Device
from alexnet.training import groups, loop
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
SYSTEMS = [
    name
    for name in recipes.names()
    if name.startswith(("keras-lab", "keras-functional", "tf-sgd", "torch-lrn"))
]
FEW = SHAPES | {
    "data.split": "slice",
    "data.size": 32,
    "train.batch": 20,
    "train.epochs": "2 epochs",
}
# The whole network would be two hundred million numbers with its memory; its rows have names alike.
SMALL = FEW | {"model.network": "alexnet-cifar", "input.size": 32}


pytestmark = pytest.mark.usefixtures("rate")


def plan(name, **keys):
    changes = {key.replace("__", "."): value for key, value in keys.items()}
    return recipes.override(recipes.load(name), SMALL | changes)


def test_there_are_ten_of_them():
    assert len(SYSTEMS) == 10


@pytest.mark.parametrize("name", [n for n in SYSTEMS if not n.endswith("published")])
def test_a_step_of_the_network_itself(name, data_root):
    """At the smallest picture that it takes, so that the dense layers fit a test."""
    network = recipes.load(name).model.network
    size = table.smallest_size(zoo.network(network))
    keys = {"model.network": network, "input.size": size, "train.batch": 4, "train.epochs": 1}
    stage = set_up(recipes.override(plan(name), keys), CPU, data_root, HUSH)
    batch = stage.train.read(np.arange(4), CPU.torch)
    before = stage.model.fc8.weight.detach().clone()
    loss, right = loop.train_step(stage, batch, 0)
    assert 0 < loss < 100
    assert 0 <= right <= 4
    assert not torch.equal(before, stage.model.fc8.weight)


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_runs_and_records(name, tmp_path, data_root):
    found = loop.fit(plan(name), tmp_path, device=CPU, root=data_root, console=HUSH)
    recipe, record = found.recipe, found.record
    assert len(found.history) == 2
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} <= found.history[0].keys()
    assert record["test"]["count"] == (32 if recipe.evaluation.drop_last else 50)
    assert (record["scored"]["pictures"], record["scored"]["of"]) == (record["test"]["count"], 50)
    assert record["scored"]["dropout"] is recipe.evaluation.dropout
    assert (record["scored"]["penalty"] > 0) is recipe.evaluation.penalty
    anew = f"{recipe.evaluation.views}, precise BN"
    assert (anew in record["test_views"]) is (recipe.evaluation.precise_bn > 0)
    assert record["verdict"] is None, "on other data"
    said = result_text(tmp_path, json.loads((tmp_path / "result.json").read_text()))
    assert ("18 of 50 test pictures" in said) is recipe.evaluation.drop_last
    assert ("dropout stayed active" in said) is recipe.evaluation.dropout
    assert ("of weight penalty" in said) is recipe.evaluation.penalty
    assert "another protocol" not in said


def test_every_picture_of_a_run_is_drawn(tmp_path, data_root):
    """All that the lab's author showed after training, with the published curve drawn in."""
    found = alexnet.train(
        plan("keras-lab-as-published", train__epochs=1),
        tmp_path / "run",
        data_root=data_root,
        console=HUSH,
    )
    written = {path.name for path in found.folder.iterdir()}
    assert {
        "curves.png",
        "confusion.png",
        "samples.png",
        "prediction.png",
        "picture.png",
    } <= written


# --- the penalty in the losses ---------------------------------------------------------------


def test_the_reported_losses_include_the_penalty(tmp_path, data_root):
    run = loop.fit(plan("keras-functional"), tmp_path, device=CPU, root=data_root, console=HUSH)
    model = classifier.load(tmp_path)
    squares = sum(
        float(np.square(model.module.get_submodule(f"conv{n}").weight.detach().numpy()).sum())
        for n in (2, 3, 4, 5)
    )
    for split, loss in (
        ("shapes/train[100:150]", run.history[-1]["val_loss"]),
        ("shapes/test[:50]", run.record["test"]["loss"]),
    ):
        how = {"device": "cpu", "precision": "float32"}  # the run's
        plain = alexnet.evaluate(tmp_path, split, data_root=data_root, **how).loss
        assert loss - plain == pytest.approx(1e-4 * squares, rel=1e-4)
    assert run.record["scored"]["penalty"] == pytest.approx(1e-4 * squares, rel=1e-5)


def test_the_training_loss_includes_it_and_the_weights_do_not_change_by_it(data_root):
    stages = [
        set_up(plan("keras-functional", evaluation__penalty=p), CPU, data_root, HUSH)
        for p in (True, False)
    ]
    batch = stages[0].train.read(np.arange(20), CPU.torch)
    penalty = groups.penalty(stages[0].model, stages[0].recipe.optim)
    with_it, without = (float(loop.train_step(stage, batch, 0)[0]) for stage in stages)
    assert with_it - without == pytest.approx(float(penalty), rel=1e-4)
    assert penalty > 1e-3
    for a, b in zip(*(s.model.parameters() for s in stages), strict=True):
        assert torch.equal(a, b)


# --- dropout that stays active ---------------------------------------------------------------


def test_active_dropout_is_a_function_of_the_seed_and_touches_nothing_else(data_root):
    keys = {"model__dropout": 0.5, "data__test": "test"}
    stage = set_up(plan("torch-lrn-as-published", **keys), CPU, data_root, HUSH)
    other = replace(stage, recipe=recipes.override(stage.recipe, {"train.seed": 1}))
    plain = replace(stage, recipe=recipes.override(stage.recipe, {"evaluation.dropout": False}))
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    first, again, differs, none = (s.score(stage.test) for s in (stage, stage, other, plain))
    assert first == again
    assert len({first.loss, differs.loss, none.loss}) == 3
    assert all(torch.equal(before[n], v) for n, v in stage.model.state_dict().items())
    assert all(module.training for module in stage.model.modules())


# --- lines about batches ---------------------------------------------------------------------


def test_a_line_every_so_many_batches(tmp_path, data_root, capsys):
    keys = {"train__log_every": "2 steps", "train__batch": 20}
    loop.fit(plan("torch-lrn", **keys), tmp_path, device=CPU, root=data_root, console=log.Console())
    lines = [line for line in capsys.readouterr().err.splitlines() if "  batch " in line]
    assert [line.partition("  loss")[0] for line in lines] == [
        f"epoch {epoch}/2  batch {number}/5" for epoch in (1, 2) for number in (2, 4)
    ]
    assert all("  acc 0." in line or "  acc 1." in line for line in lines)
