"""Training with a skip connection: behind frozen rows, killed and resumed, by two processes."""

from __future__ import annotations

import numpy as np
import processes
import pytest
import skipping
import torch
from processes import KILLED, TINY, dies, resume, together, trace, train
from safetensors.torch import save_file

import alexnet
from alexnet import recipe as recipes
from alexnet.models import transfer, zoo
from alexnet.models.build import build
from alexnet.run import checkpoint, classifier, log
from alexnet.run.device import Device
from alexnet.training import loop
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
READINGS = sorted(skipping.NETWORKS)
PLAN = TINY | {
    "input.size": 32,
    "data.train": "train[:40]",
    "data.validation": "train[100:120]",
    "data.test": "test[:20]",
    "train.batch": 10,
    "train.average": 0.0,
    "model.frozen": ["conv*"],
    "model.head": [12],
    "augment.crop": 0,
    "augment.flip": "random",
    "evaluation.views": "flip",
    "optim.name": "sgd",  # Adam makes much of the last bit
    "optim.lr": 0.01,
    "schedule.name": "constant",
    "checkpoint.every": "3 steps",
}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(Device, "matrix_rate", lambda self: 1e11)
    for name, make in skipping.NETWORKS.items():
        monkeypatch.setitem(zoo.NETWORKS, name, make)


@pytest.fixture(params=READINGS)
def plan(request, tmp_path):
    """The keys of a run on the frozen convolutions of a reading, its own trained ones among them."""
    path = tmp_path / "weights.safetensors"
    state = build(skipping.NETWORKS[request.param](), 32, seed=3).state_dict()
    save_file({k: v for k, v in state.items() if k.startswith("conv")}, path)
    return PLAN | {"model.network": request.param, "model.weights": str(path)}


def made(plan, **keys):
    return recipes.override(recipes.load("cifar10-quick"), plan | keys)


def fit(folder, root, recipe):
    found = loop.fit(recipe, folder, device=CPU, root=root, console=HUSH)
    return found, checkpoint.newest(folder, print)


def test_features_are_all_maps_that_the_trained_rows_read(plan, root):
    trained = plan["model.network"] == "skip-trained"
    stage = set_up(made(plan), CPU, root, HUSH)
    kept = stage.train.read(np.arange(4), CPU.torch).pictures
    assert kept.shape == (4, 2, (2 if trained else 1) * 8 * 7 * 7)
    pictures = set_up(made(plan | {"model.frozen": []}), CPU, root, HUSH).train
    x = stage.preprocessing(pictures.read(np.arange(4), CPU.torch).pictures)
    stage.model.eval()
    names = ["pool3", "skippool"] if trained else ["flatten"]
    found = stage.model.activations(x, names)
    maps = [m.permute(0, 2, 3, 1).flatten(1) if m.ndim == 4 else m for m in found.values()]
    torch.testing.assert_close(kept[:, 0], torch.cat(maps, 1), rtol=1e-4, atol=1e-5)


def test_training_from_features_is_training_through_the_frozen_rows(
    plan, root, tmp_path, monkeypatch
):
    once, first = fit(tmp_path / "once", root, made(plan))
    with monkeypatch.context() as patch:
        patch.setattr("alexnet.training.learner.rows_run_once", lambda *_: 0)
        each, second = fit(tmp_path / "each", root, made(plan))
    for one, other in zip(once.history, each.history, strict=True):
        for key in ("train_loss", "val_loss"):
            assert one[key] == pytest.approx(other[key], rel=1e-4), key
    for name, value in first.weights.items():
        torch.testing.assert_close(value, second.weights[name], rtol=1e-3, atol=1e-5)
    assert once.record["test"]["loss"] == pytest.approx(each.record["test"]["loss"], rel=1e-4)
    start = build(skipping.NETWORKS[plan["model.network"]](), 32, seed=3).state_dict()
    assert torch.equal(first.weights["conv2.weight"], start["conv2.weight"])
    assert ("skipconv.weight" in first.weights) == (plan["model.network"] == "skip-trained")


def test_what_is_loaded_has_the_skip_and_scores_the_same(plan, root, tmp_path):
    result, saved = fit(tmp_path / "run", root, made(plan))
    model = classifier.load(tmp_path / "run")
    assert wired(model.module) == wired(
        set_up(made(plan | {"model.frozen": []}), CPU, root, HUSH).model
    )
    assert saved.model["network"] == plan["model.network"]
    found = alexnet.evaluate(
        model, "shapes/test[:20]", device="cpu", precision="float32", data_root=root
    )
    assert found.loss == pytest.approx(result.record["test"]["loss"], rel=1e-4)


def wired(model):
    return [(row.name, row.reads) for row in model.network.rows], model.held


def test_killed_and_resumed_is_never_killed(plan, root, tmp_path):
    changes = [skipping.register]
    assert train(tmp_path / "whole", root, plan, *changes) == 0
    death = dies("training.loop.train_step", 6)
    assert train(tmp_path / "run", root, plan, *changes, death) == KILLED
    assert resume(tmp_path / "run", root, *changes) == 0
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")


@pytest.mark.parametrize("frozen", [["conv*"], []], ids=["head", "all"])
def test_two_processes_train_as_one(plan, root, tmp_path, frozen):
    plan = plan | {"model.frozen": frozen}
    assert train(tmp_path / "one", root, plan, skipping.register) == 0
    args = (tmp_path / "two", root, plan, [skipping.register])
    assert together(processes._train, *args) == [0, 0]
    one, two = (checkpoint.newest(tmp_path / name, print).weights for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-3, atol=1e-4)


# --- the published recipes -------------------------------------------------------------------

RECIPES = ["torch-transfer", "torch-transfer-skip", "torch-transfer-skip-as-published"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_differ_in_the_network_alone(name):
    own, plain = (recipes.to_tree(recipes.load(n)) for n in (name, "torch-transfer"))
    same = set(own) - {"name", "summary", "source", "fault", "published", "model"}
    assert {key: own[key] for key in same} == {key: plain[key] for key in same}
    assert own["model"] | {"network": ""} == plain["model"] | {"network": ""}


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory):
    """Weights of the five convolutions that all three networks have, in a file."""
    path = tmp_path_factory.mktemp("weights") / "convolutions.safetensors"
    network = transfer.with_head(zoo.network("owt", classes=10), ())
    state = build(network, seed=5).state_dict()
    save_file({k: v for k, v in state.items() if k.startswith("conv")}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_every_output_of_the_program(name, convolutions, root, tmp_path):
    """At its own size, with a smaller head: features, curves, confusion, top-3, PCA of 9216 values."""
    keys = {"data.name": "shapes", "data.train": "train[:24]", "data.test": "test[:20]"}
    keys |= {"train.batch": 8, "train.epochs": "2 epochs", "train.precision": "float32"}
    keys |= {"model.head": [16], "model.weights": str(convolutions)}
    plan = recipes.override(recipes.load(name), keys)
    run = alexnet.train(plan, tmp_path / "run", data_root=root, device="cpu", console=HUSH)
    written = {path.name for path in run.folder.iterdir()}
    assert {"curves.png", "confusion.png", "samples.png", "prediction.png"} <= written
    record = run.record
    assert sum(map(sum, record["test"]["confusion"])) == 20
    assert set(record["test"]["top"]) == {"1", "3"}
    assert record["verdict"] is None, "on other pictures"
    assert record["memory"]["peak"] > record["memory"]["weights"]
    first, last = (line["train_loss"] for line in run.history)
    assert last < first
    model = classifier.load(run.folder)
    vectors = model.module.activations(torch.randn(1, 3, 224, 224), ["flatten"])["flatten"]
    assert vectors.shape == (1, 9216)
    folders = [f.name for f in (root / "features").iterdir() if f.is_dir()]
    assert len(folders) == 2, "the convolutions ran once over both splits"


@pytest.mark.parametrize("name", RECIPES[1:])
def test_a_size_that_does_not_fit_is_refused_before_anything_is_fetched(name, tmp_path):
    plan = recipes.override(recipes.load(name), {"input.size": 128, "data.name": "imagenette"})
    with pytest.raises(alexnet.AlexNetError, match="smallest legal picture is 223x223"):
        set_up(plan, CPU, tmp_path, HUSH)
    assert list(tmp_path.iterdir()) == []
