"""Rows that meet their rule one by one: beside torch's own steps; and rows that rest, to the bit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from processes import HEAD, KILLED, dies, resume, trace, train
from torch import Tensor

from alexnet import recipe as recipes
from alexnet.models import kernels, rows
from alexnet.models.build import build
from alexnet.models.kernels import dense as kernel
from alexnet.models.table import Network
from alexnet.recipe import Duration, Group, Optim
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import execution, groups, loop, optim, row_update, silence
from alexnet.training.row_update import RowUpdate
from alexnet.training.silence import Silence
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
SMALL = Network(
    "small",
    (
        rows.Flatten("flatten"),
        rows.Dense("fc1", units=48),
        rows.ReLU("relu1"),
        rows.Dropout("drop1", p=0.0),
        rows.Dense("fc2", units=16),
    ),
    size=8,
    init="torch",
    summary="",
    source="",
)
STEPS = 6
LENGTHS = {"steps_per_epoch": 2, "batch": 6}
FROZEN = {"group": (Group(match="fc1.*", until=Duration(4, "steps")),)}
OWN_RATE = {"group": (Group(match="fc1.weight", lr_factor=3.0, weight_decay=0.0),)}
# An eps that is not far below the gradients: Adam divides rounding by rounding where both are nothing.
RULES: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "sgd, nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True} | OWN_RATE,
    "sgd, frozen": {"name": "sgd", "momentum": 0.9} | FROZEN,
    "adam": {"name": "adam", "eps": 1e-3},
    "adam, own rate": {"name": "adam", "eps": 1e-3} | OWN_RATE,
    "keras-adam": {"name": "keras-adam", "eps": 1e-3} | OWN_RATE,
    "keras-adam, frozen": {"name": "keras-adam", "eps": 1e-3} | FROZEN,
    "keras-sgd": {"name": "keras-sgd", "momentum": 0.9} | OWN_RATE,
    "keras-sgd, nesterov": {"name": "keras-sgd", "momentum": 0.9, "nesterov": True},
    "2012": {"name": "2012", "momentum": 0.9},
}


@pytest.fixture(autouse=True)
def layers_are_large(monkeypatch):
    monkeypatch.setattr(kernel, "LARGE", 1)


def sparse(wanted: bool) -> Any:
    return lambda values, most=0.0: wanted


class Trained:
    """A small network that learns from drawn pictures; ``share``: of its hidden units' gradients."""

    def __init__(self, rule: dict[str, Any], *, by_rows: bool, share: float = 0.3) -> None:
        self.model, self.share = build(SMALL).train(), share
        self.plan = Optim(**{"lr": 0.02, "weight_decay": 0.1} | rule)
        self.rule = optim.make(self.model, self.plan)
        self.rows = RowUpdate(self.model) if by_rows else None

    def steps(self, which: range) -> Trained:
        for step in which:
            draw = torch.Generator().manual_seed(step)
            x = torch.randn(7, 3, 8, 8, generator=draw)
            kept = torch.rand(7, 48, generator=draw) < self.share
            groups.set_rate(self.rule, 1 - step / 8)
            groups.over(self.rule, step, **LENGTHS)
            hidden = self.model.relu1(self.model.fc1(x.flatten(1))) * kept
            self.model.fc2(hidden).square().sum().backward()
            groups.freeze(self.rule, step, **LENGTHS)
            execution.update(self.rule, None, self.rows)
        return self

    @property
    def found(self) -> dict[str, Tensor]:
        if self.rows:
            self.rows.settle(self.rule)
        return {**self.model.state_dict(), **optim.memory_of(self.rule, self.model)}


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert {*ours} == {*theirs}
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape), name
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=5e-6, msg=name)


@pytest.mark.parametrize("few", [True, False], ids=["piece by piece", "as a whole"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_six_steps_are_those_of_torch(rule, few, monkeypatch):
    monkeypatch.setattr(kernel, "sparse", sparse(few))
    ours, theirs = (Trained(rule, by_rows=by).steps(range(STEPS)) for by in (True, False))
    assert ours.model.fc1.weight.grad is None
    assert ours.model.fc1.by_rows.taken == []
    agree(ours.found, theirs.found)


@pytest.mark.parametrize("name", ["sgd", "adam", "keras-adam", "2012"])
def test_either_goes_on_where_the_other_stopped(name, monkeypatch):
    first, whole = (Trained(RULES[name], by_rows=by) for by in (True, False))
    for begin, few in ((0, True), (2, False), (4, True)):
        monkeypatch.setattr(kernel, "sparse", sparse(few))
        first.steps(range(begin, begin + 2))
    first.rows.settle(first.rule)
    first.model.fc1.by_rows = first.model.fc2.by_rows = None
    first.rows = None
    agree(first.steps(range(6, 8)).found, whole.steps(range(8)).found)


# --- rows that rest ------------------------------------------------------------------------------


def moved(rule: str, name: str, *, rests: bool) -> tuple[dict[str, Tensor], RowUpdate]:
    """Train a layer where half of the hidden units never speak after the tenth step."""
    torch.set_flush_denormal(True)
    run = Trained(RULES[rule] | {"weight_decay": 0.0, "group": ()}, by_rows=True)
    draw, layer = torch.Generator().manual_seed(0), run.model.get_submodule(name)
    with torch.no_grad():
        for step in range(1100):
            hidden = torch.randn(7, 48, generator=draw)
            hidden[:, 24 if step > 10 else 48 :] = 0
            other = torch.randn(7, 192 if name == "fc1" else 16, generator=draw)
            layer.by_rows.taken.append((other, hidden) if name == "fc1" else (hidden, other))
            if not rests:
                run.rows._layers[layer.weight].rests.zero_()
            groups.over(run.rule, step, **LENGTHS)
            execution.update(run.rule, None, run.rows)
    return run.found, run.rows._layers[layer.weight].rests


@pytest.mark.parametrize("name", ["fc1", "fc2"], ids=["rows", "columns"])
@pytest.mark.parametrize("rule", ["adam", "keras-adam", "sgd", "2012"])
def test_rows_that_rest_have_the_bits_of_rows_that_are_moved(rule, name, monkeypatch):
    monkeypatch.setattr(kernel, "sparse", sparse(True))
    ours, resting = moved(rule, name, rests=True)
    theirs, _ = moved(rule, name, rests=False)
    assert resting.tolist() == [0] * 24 + [1] * 24
    assert {*ours} == {*theirs}
    for found in ours:
        assert torch.equal(ours[found], theirs[found]), found


def test_a_rule_that_decays_weights_lets_no_row_rest(monkeypatch):
    monkeypatch.setattr(kernel, "sparse", sparse(True))
    run = Trained({"name": "sgd", "momentum": 0.5, "weight_decay": 0.1}, by_rows=True)
    before = run.model.fc1.weight.clone()
    run.model.fc1.by_rows.taken.append((torch.ones(2, 192), torch.zeros(2, 48)))
    groups.over(run.rule, 0, **LENGTHS)
    run.rows.step(run.rule)
    torch.testing.assert_close(run.model.fc1.weight, before * (1 - 0.02 * 0.1))


# --- units that no picture wakes -----------------------------------------------------------------

PICTURES = torch.randn(24, 192, generator=torch.Generator().manual_seed(1)).abs()


def silenced(watch: bool, epochs: int = 260) -> tuple[dict[str, Tensor], Trained]:
    """Train on the same 24 pictures, six at a time, at a rate that silences units."""
    torch.set_flush_denormal(True)
    run = Trained({"name": "adam", "lr": 0.05, "weight_decay": 0.0}, by_rows=False)
    watched = Silence(run.model.fc1, steps_per_epoch=4)
    run.rows = RowUpdate(run.model, watched)
    labels = torch.arange(24) % 5
    for step in range(epochs * 4):
        if not watch:
            watched.begin()  # all rows are computed again
        order = torch.randperm(24, generator=torch.Generator().manual_seed(step // 4))
        chosen = order[step % 4 * 6 :][:6]
        groups.over(run.rule, step, **LENGTHS)
        logits = run.model(PICTURES[chosen].reshape(6, 3, 8, 8))
        torch.nn.functional.cross_entropy(logits, labels[chosen]).backward()
        execution.update(run.rule, None, run.rows)
    return run.found, run


def test_leaving_out_silent_units_changes_no_bit():
    (ours, run), (theirs, _) = silenced(True), silenced(False)
    awake = len(run.model.fc1.by_rows.awake)
    assert 0 < awake < 40, "some units fell silent, and are left out"
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    quiet = run.model.eval().fc1(PICTURES).relu().amax(0) == 0
    assert int(quiet.sum()) >= 48 - awake


def test_a_unit_that_speaks_or_moves_stays_awake():
    run = Trained({"name": "adam", "weight_decay": 0.0}, by_rows=False)
    watched = Silence(run.model.fc1, steps_per_epoch=2)
    run.rows = RowUpdate(run.model, watched)
    by_rows, bias = run.model.fc1.by_rows, run.model.fc1.bias
    rests, fired = torch.ones(48, dtype=torch.uint8), torch.zeros(48, dtype=torch.bool)
    rests[0], fired[1] = 0, True
    run.rule.state[bias]["exp_avg"] = torch.zeros(48)
    run.rule.state[bias]["exp_avg"][2] = 1e-30
    for step in range(6):
        by_rows.fired = fired.clone()
        by_rows.fired[3] = step == 3  # once, in the second epoch
        by_rows.fired[4] = step == 1  # once, in the first one
        assert len(by_rows.awake) == 48 or step >= 4
        watched.see(run.rule, rests)
    assert by_rows.awake.tolist() == [0, 1, 2, 3]


def test_a_layer_that_is_watched_is_looked_at_by_rows_behind_a_relu_too():
    """Features may be what a ReLU gives, where a trained layer before it is frozen."""
    model, whole = build(SMALL).train(), build(SMALL).train()
    RowUpdate(model, Silence(model.fc2, steps_per_epoch=2))
    assert [layer.by_rows.columns for layer in (model.fc1, model.fc2)] == [False, False]
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), whole(x))
    assert model.fc2.by_rows.fired.shape == (16,)


SAME_EVERY_EPOCH = HEAD | {
    "train.label_smoothing": 0.0,
    "train.drop_last": False,
    "train.epochs": "3 epochs",
    "train.average": 0.0,
    "model.head": [512, 512],  # the second of which reads a ReLU: its weights lie by columns
    "model.dropout": 0.0,
    "augment.flip": "none",
    "evaluation.views": "centre",
    "optim.weight_decay": 0.0,
    "checkpoint.every": "3 steps",
}


def plan(weights, **changes):
    override = SAME_EVERY_EPOCH | {"model.weights": str(weights)} | changes
    return recipes.override(recipes.load("cifar10-quick"), override)


@pytest.mark.usefixtures("rate")
@pytest.mark.parametrize(
    ("changes", "watched"),
    [
        ({}, True),
        ({"augment.flip": "random"}, False),
        ({"augment.mixup": 0.2}, False),
        ({"train.drop_last": True}, False),
        ({"optim.weight_decay": 0.01}, False),
        ({"model.dropout": 0.5}, False),
        ({"model.frozen": []}, False),
        ({"optim.name": "rmsprop"}, None),
        ({"train.convolutions": "direct"}, None),
    ],
)
def test_where_units_may_be_left_out(tmp_path, root, weights, changes, watched):
    stage = set_up(plan(weights, **changes), CPU, root, HUSH)
    assert stage.computing.update == ("torch" if watched is None else row_update.BY_ROWS)
    assert (stage.rows is None) == (watched is None)
    if watched is not None:
        assert (stage.rows._silence is not None) == watched


@pytest.mark.usefixtures("rate")
def test_the_losses_of_a_run_are_those_of_torchs_updates(tmp_path, root, weights, monkeypatch):
    def losses(name: str) -> list[float]:
        loop.fit(plan(weights), tmp_path / name, device=CPU, root=root)
        lines = (tmp_path / name / log.METRICS).read_text().splitlines()
        return [json.loads(line)["train_loss"] for line in lines]

    by_rows = losses("by rows")
    monkeypatch.setattr(row_update, "way", lambda *how: "torch")
    assert by_rows == pytest.approx(losses("torch"), rel=1e-4)


@pytest.mark.usefixtures("rate")
def test_what_is_timed_before_a_run_is_by_rows_too(root, weights, monkeypatch):
    """By torch's products a run of two hours was foretold as one of eight."""
    stage = set_up(plan(weights), CPU, root, HUSH)
    real, seen = kernels.multiply, []
    monkeypatch.setattr(kernels, "multiply", lambda *given: seen.append(given) or real(*given))
    loop.rehearse(stage)
    assert len(seen) == 3 * 2  # passes, large layers
    assert [layer.by_rows.taken for layer in (stage.model.head1, stage.model.head2)] == [[], []]


def test_killed_and_resumed_is_never_killed(tmp_path, root, weights):
    override = SAME_EVERY_EPOCH | {"model.weights": str(weights)}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole, root, override) == 0
    assert train(broken, root, override, dies("training.loop.train_step", 8)) == KILLED
    assert resume(broken, root) == 0
    assert trace(broken) == trace(whole)


def test_without_kernels_torch_moves_the_weights(monkeypatch):
    def missing() -> Any:
        raise kernels.Unavailable("no C++ compiler on this machine")

    model = build(SMALL)
    assert row_update.way(Optim(name="adam"), model, "direct (no compiler)") == "torch"
    assert row_update.way(Optim(name="adam"), model, "winograd") == row_update.BY_ROWS
    assert row_update.way(Optim(name="muon"), model, "winograd") == "torch"
    assert row_update.way(Optim(name="sgd", momentum=0.0), model, "winograd") == "torch"
    monkeypatch.setattr(kernel, "ready", missing)
    reason = "torch (no C++ compiler on this machine)"
    assert row_update.way(Optim(name="adam"), model, "winograd") == reason


def test_nothing_is_watched_but_a_dense_layer_with_a_relu_behind_it(monkeypatch):
    model, recipe = build(SMALL), plan("imagenet")
    assert silence.watched(model, 1, recipe, 4) is not None
    assert silence.watched(model, 0, recipe, 4) is None
    assert silence.watched(model, 2, recipe, 4) is None
    assert silence.watched(model, 4, recipe, 4) is None


def test_what_reads_a_relu_lies_column_by_column_and_is_the_same():
    model, whole = build(SMALL), build(SMALL)
    RowUpdate(model)
    assert [layer.by_rows.columns for layer in (model.fc1, model.fc2)] == [False, True]
    assert model.fc2.weight.stride() == (1, 16)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(x), whole.eval()(x))
    torch.testing.assert_close(model.train()(x), whole.train()(x))
