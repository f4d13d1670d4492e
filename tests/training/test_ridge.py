"""Kernel machines: the solution, what it says of left-out pictures, and a run from end to end."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from processes import TINY
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

import alexnet
from alexnet import recipe as recipes
from alexnet.data.sources import open_dataset
from alexnet.errors import DataError, RecipeError
from alexnet.models import layers, table, transfer, zoo
from alexnet.models.build import build
from alexnet.run import checkpoint, classifier, log
from alexnet.run.device import Device
from alexnet.run.memory import opening_text
from alexnet.training import left_out, loop, ridge
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
KERNEL = TINY | {
    "data.train": "train[:60]",
    "data.validation": "",
    "data.test": "test[:40]",
    "data.split": "slice",
    "data.size": 32,
    "input.size": 32,
    "model.frozen": ["conv*", "norm*"],
    "model.pool": 0,
    "model.kernel": 2.0,
    "train.epochs": "1 epochs",
}

pytestmark = pytest.mark.usefixtures("rate")


def plan(weights, **changes):
    return recipes.override(
        recipes.load("photos-kernel"), KERNEL | {"model.weights": str(weights)} | changes
    )


def fit(folder, root, weights, device=CPU, **changes):
    return loop.fit(plan(weights, **changes), folder, device=device, root=root, console=HUSH)


def unit(count, width=12, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def wanted(labels, classes):
    return np.eye(classes)[labels] - 1 / classes


def test_it_is_scikit_learns_kernel_ridge_with_pictures_weighed():
    x, labels = unit(40), np.arange(40) % 4
    weight = np.linspace(0.5, 2.0, 40)
    theirs = KernelRidge(alpha=0.05, kernel="rbf", gamma=1.5)  # exp(-1.5 |a-b|^2): our 3.0
    theirs.fit(x.numpy(), wanted(labels, 4), sample_weight=weight)
    penalty = torch.from_numpy(0.05 / weight)
    a, _, fitted = ridge.ridge(x, torch.from_numpy(labels), 4, 3.0, penalty)
    new = unit(7, seed=1).numpy()
    ours = rbf_kernel(new, x.numpy(), gamma=1.5) @ a.numpy()
    np.testing.assert_allclose(ours, theirs.predict(new), atol=2e-5)
    np.testing.assert_allclose(fitted.numpy(), theirs.predict(x.numpy()), atol=2e-5)


def test_left_out_answers_are_those_of_machines_that_never_saw_the_picture():
    x, labels = unit(20), np.arange(20) % 3
    _, left_out, _ = ridge.ridge(
        x, torch.from_numpy(labels), 3, 2.0, torch.full((20,), 0.01, dtype=torch.float64)
    )
    for n in range(20):
        rest = np.delete(np.arange(20), n)
        other = KernelRidge(alpha=0.01, kernel="rbf", gamma=1.0)
        other.fit(x.numpy()[rest], wanted(labels, 3)[rest])
        answer = other.predict(x.numpy()[n : n + 1])[0]
        np.testing.assert_allclose(left_out[n].numpy(), answer, atol=5e-5)


def test_the_scale_has_the_least_cross_entropy():
    answers = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = (answers + 0.7 * torch.randn(200, 5)).argmax(1)
    found = ridge.best_scale(answers, labels)

    def loss(scale):
        return float(torch.nn.functional.cross_entropy(scale * answers.double(), labels))

    assert loss(found) <= min(loss(found * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))
    assert ridge.SCALES[0] * 2 < found < ridge.SCALES[1] / 2


def test_pictures_that_are_alike_cannot_be_solved_without_a_penalty():
    x = 1.001 * unit(1).repeat(5, 1)  # as rounding may leave them: longer than 1
    with pytest.raises(ArithmeticError):
        ridge.ridge(x, torch.arange(5) % 2, 2, 2.0, torch.zeros(5))


def test_the_table_of_a_kernel_machine():
    network = transfer.with_kernel(zoo.network("owt", classes=10), 2.0, 8522)
    steps = {step.row.name: step for step in table.trace(network, 256)}
    assert list(steps)[-4:] == ["headnorm", "head1", "headkernel", "head2"]
    assert (steps["head1"].parameters, steps["head1"].buffers) == (0, 8522 * 9216)
    assert steps["head2"].parameters == 85_230  # 8522 * 10 + 10
    module = build(network, 256)
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert trained == table.totals(steps.values()).trainable


def test_the_maps_are_averaged_first_where_that_is_asked_for():
    owt = transfer.with_pool(zoo.network("owt", classes=10), 3)
    steps = {step.row.name: step for step in table.trace(owt, 256)}
    assert steps["avgpool"].outputs == (256, 3, 3)
    assert steps["fc6"].parameters == (2304 + 1) * 4096
    plain = transfer.with_pool(zoo.network("alexnet-cifar"), 2)  # has no such pool: one of its own
    names = [row.name for row in plain.rows]
    assert names.index("avgpool") + 1 == names.index("flatten")
    machine = transfer.with_kernel(owt, 4.0, 9469)
    assert table.trace(machine, 256)[-3].buffers == 9469 * 2304


@pytest.mark.parametrize("half", [False, True])
def test_its_layers_are_the_formula_in_float32_inside_autocast_too(half):
    module = build(transfer.with_kernel(zoo.network("alexnet-cifar"), 3.0, 6), 32).eval()
    first = [row.name for row in module.network.rows].index("headnorm")
    width = module.shapes["headnorm"][0]
    x = torch.rand(5, width, generator=torch.Generator().manual_seed(0))
    x[0] = 0  # a picture of which nothing is left
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = module(x, first)
    root = np.sqrt(x.double().numpy())
    root /= np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-12)
    tensors = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
    kernel = np.exp(3.0 * (root @ tensors["head1.weight"].T - 1))
    expected = kernel @ tensors["head2.weight"].T + tensors["head2.bias"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("pool", [0, 2])
def test_a_run_solves_saves_and_is_used(tmp_path, root, weights, pool):
    result = fit(tmp_path / "run", root, weights, **{"model.pool": pool})
    line = result.history[-1]
    assert line["train_accuracy"] == 1.0  # of a penalty this small it knows its own
    assert line["left_out_accuracy"] < 1.0
    assert line["left_out_loss"] > line["train_loss"]
    assert result.solved
    saved = checkpoint.newest(tmp_path / "run", print)
    assert saved.model["kernel"] == [2.0, 60]
    torch.testing.assert_close(saved.weights["head1.weight"].norm(dim=1), torch.ones(60))
    model = classifier.load(tmp_path / "run")
    kinds = [row.kind for row in model.module.network.rows[-4:]]
    assert kinds == ["RootNorm", "Examples", "GaussianKernel", "Dense"]
    found = alexnet.evaluate(
        model, "shapes/test[:40]", device="cpu", precision="float32", data_root=root
    )
    assert found.accuracy == result.record["test"]["accuracy"]
    assert found.loss == pytest.approx(result.record["test"]["loss"], rel=1e-3)


def test_a_table_that_cannot_be_written_loses_nothing_else(
    tmp_path, root, weights, monkeypatch, capsys
):
    def full(*_):
        raise DataError("left-out.csv: cannot be written: No space left on device")

    monkeypatch.setattr(left_out, "write_csv", full)
    result = loop.fit(plan(weights), tmp_path / "run", device=CPU, root=root, console=log.Console())
    assert result.record["test"]["count"]
    assert "warning: left-out.csv: cannot be written" in capsys.readouterr().err


def test_what_it_would_say_of_each_picture_is_a_table_of_the_most_doubtful_first(
    tmp_path, root, weights, capsys
):
    """The last picture is the eleventh again, labelled otherwise: each tells against the other."""
    drawn = open_dataset("shapes", root=root).parts["train"]
    pictures, labels = np.array(drawn.images[:60]), np.array(drawn.labels[:60])
    pictures[59] = pictures[10]
    labels[59] = (labels[10] + 1) % 10
    classes = [f"class {n}" for n in range(10)]
    name = alexnet.keep_arrays(tmp_path / "own", classes=classes, train=(pictures, labels))
    parts = {"data.name": name, "data.train": "train[5:]", "data.test": "train[:5]"}
    asked = plan(weights, **{**parts, "augment.flip": "random", "model.kernel": 200.0})
    result = loop.fit(asked, tmp_path / "run", device=CPU, root=root, console=log.Console())
    with (tmp_path / "run/left-out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == left_out.COLUMNS
    assert sorted(int(row["index"]) for row in rows) == list(range(5, 60))  # one line a picture
    assert {int(row["index"]) for row in rows[:2]} == {10, 59}
    own = [float(row["probability_of_true"]) for row in rows]
    assert own == sorted(own)
    assert all(row["true"] == classes[labels[int(row["index"])]] for row in rows)
    assert all(float(row["probability"]) >= p for row, p in zip(rows, own, strict=True))
    line = result.history[-1]
    assert -np.log(own).mean() == pytest.approx(line["left_out_loss"], rel=1e-3)
    others = sum(row["predicted"] != row["true"] for row in rows)
    assert others / 55 == pytest.approx(1 - line["left_out_accuracy"])
    assert (
        f"left-out.csv: what it would have said of each training picture without it, {others} of 55"
        in (capsys.readouterr().err)
    )


def test_its_pictures_and_report_have_no_curves_but_the_left_out_answers(tmp_path, root, weights):
    run = alexnet.train(
        "photos-kernel",
        tmp_path / "run",
        override=KERNEL | {"model.weights": str(weights)},
        device="cpu",
        data_root=root,
        console=HUSH,
    )
    assert (run.folder / "confusion.png").is_file()
    assert not (run.folder / "curves.png").exists()
    page = alexnet.report(
        run.folder, tmp_path / "page.html", pictures=0, device="cpu", data_root=root
    )
    assert "left out accuracy" in page.read_text(encoding="utf-8")


def test_it_learns_shapes_from_the_pictures_themselves(tmp_path, root, weights):
    """The answers to left-out pictures foretell those to new ones."""
    more = {"data.train": "train[:1500]", "data.test": "test[:500]"}
    result = fit(tmp_path / "run", root, weights, **more)
    assert result.record["test"]["accuracy"] > 0.3  # chance: 0.1
    foretold = result.history[-1]["left_out_accuracy"]
    assert result.record["test"]["accuracy"] == pytest.approx(foretold, abs=0.08)


def test_in_bf16_it_says_nearly_the_same(tmp_path, root, weights):
    """Features are kept in bf16 then; what is solved and multiplied stays in float32 and 64."""
    half = Device(torch.device("cpu"), "bf16")
    exact = fit(tmp_path / "float32", root, weights)
    rough = fit(tmp_path / "bf16", root, weights, half)
    for key in ("left_out_loss", "left_out_accuracy"):
        assert rough.history[-1][key] == pytest.approx(exact.history[-1][key], abs=0.05)
    found = alexnet.evaluate(
        tmp_path / "bf16", "shapes/test[:40]", device="cpu", precision="bf16", data_root=root
    )
    assert found.loss == pytest.approx(rough.record["test"]["loss"], rel=0.02)


def test_several_processes_are_refused(weights):
    with pytest.raises(RecipeError, match="solves in one process, and there are 2"):
        ridge.refuse_unfit(plan(weights), SimpleNamespace(world=2))


def test_rare_classes_weigh_more_where_they_are_asked_to(tmp_path, root, weights):
    plain = fit(tmp_path / "plain", root, weights)
    weighed = fit(tmp_path / "weighed", root, weights, **{"train.balance": "loss"})
    assert plain.history[-1]["left_out_loss"] != weighed.history[-1]["left_out_loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim.name": "sgd"}, r"model.kernel = 2 and optim.name = 'sgd'"),
        ({"model.kernel": 0.0}, r"model.kernel = 0 and optim.name = 'ridge'"),
        ({"model.head": [12]}, r"model.head is of no use"),
        ({"optim.lr": 0.5}, r"optim is of no use .* weight_decay alone"),
        ({"evaluation.penalty": True}, r"evaluation.penalty is of no use"),
        ({"augment.crop": 4}, r"augment is of no use"),
        ({"augment.mixup": 0.2}, r"augment is of no use"),
        ({"schedule.name": "cosine"}, r"schedule is of no use"),
        ({"train.epochs": "2 epochs"}, r"train.epochs is of no use"),
        ({"train.label_smoothing": 0.1}, r"train.label_smoothing is of no use"),
        ({"train.average": 0.9}, r"train.average is of no use"),
        ({"train.balance": "sampling"}, r"train.balance is of no use"),
        ({"model.dropout": 0.5}, r"model.dropout is of no use"),
        ({"optim.weight_decay": 0.0}, r"optim.weight_decay = 0.0: it is the penalty"),
        ({"optim.weight_decay": 1e-300}, r"optim.weight_decay = 1e-300 is too small"),
        ({"model.frozen": ["conv*"]}, r"model.frozen = \['conv\*'\] does not hold all"),
        ({"model.frozen": []}, r"model.frozen = \[\] does not hold all"),
    ],
)
def test_what_it_has_no_use_for_is_refused(tmp_path, root, weights, changes, message, monkeypatch):
    if changes.get("optim.weight_decay") == 1e-300:  # every picture the same: a singular kernel
        same = 1.001 * torch.nn.functional.normalize(torch.ones(60, 9216), dim=1)
        alike = (same, torch.arange(60) % 10)
        monkeypatch.setattr(ridge, "_examples", lambda stage: alike)
    with pytest.raises(RecipeError, match=message):
        fit(tmp_path / "run", root, weights, **changes)


def test_the_memory_of_the_machine_itself_is_asked_for(root, weights, monkeypatch):
    """On a CPU too, which has no memory of its own; and what is foreseen is named as what it is."""
    stage = set_up(plan(weights), CPU, root, HUSH)
    assert (stage.memory.products, stage.memory.gradients) == (16 * 60**2, 0)
    assert "products of all training pictures 56 KiB" in opening_text(stage.memory)
    monkeypatch.setattr("alexnet.run.machine._available_memory", lambda: 57_000)
    with pytest.raises(RecipeError, match="train on fewer"):
        set_up(plan(weights), CPU, root, HUSH)


def test_more_pictures_than_the_memory_holds_are_refused(tmp_path, root, weights, monkeypatch):
    monkeypatch.setattr(ridge, "free_memory", lambda device: 50_000)
    with pytest.raises(RecipeError, match=r"60 training pictures needs roughly .* train on fewer"):
        fit(tmp_path / "run", root, weights)


def test_the_work_of_solving():
    # Products of all pairs, a factor (N^3/6), the inverse (N^3/3), the weights.
    n, width, classes = 300, 50, 10
    total = n * n * width + n**3 / 6 + n**3 / 3 + n * n * classes
    assert n * ridge.multiply_adds(n, width, classes) == pytest.approx(total)


def test_large_weights_are_multiplied_with_all_bits(monkeypatch):
    """Where the process multiplies in TF32 on a GPU, too: the weights nearly cancel."""
    seen = []
    real = torch.nn.functional.linear

    def linear(*args):
        seen.append(torch.get_float32_matmul_precision())
        return real(*args)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    torch.set_float32_matmul_precision("high")
    try:
        layer = layers.ExactLinear(3, 2)
        layer(torch.ones(1, 3))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["highest"]
