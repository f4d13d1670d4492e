"""One pass over a weight is the rule: beside torch's own steps and NumPy, in Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from interpreted import needs_triton
from processes import TINY
from tape import ASKING, Tape
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet import recipe as recipes
from alexnet.benchmark.subject import Subject
from alexnet.models import rows
from alexnet.models.build import build
from alexnet.models.table import Network
from alexnet.recipe import Duration, Group, Optim
from alexnet.run import computing, log
from alexnet.run.device import Device
from alexnet.training import captured, execution, fused_update, groups, loop, optim
from alexnet.training.captured import Captured
from alexnet.training.masters import Masters
from alexnet.training.stage import set_up

needs_triton()

CPU = torch.device("cpu")
SMALL = Network(
    "small",
    (
        rows.Conv("conv1", channels=4, kernel=3),  # 108 weights: no multiple of a block
        rows.Conv("conv2", channels=40, kernel=3),  # 1440: more than one block
        rows.BatchNorm("norm2"),
        rows.Flatten("flatten"),
        rows.Dense("fc3", units=3),
    ),
    size=6,
    init="torch",
    summary="",
    source="",
)
STEPS = 6
LENGTHS = {"steps_per_epoch": 2, "batch": 6}
FROZEN = {"group": (Group(match="conv2.*", until=Duration(4, "steps")),)}
OWN_RATE = {"group": (Group(match="fc3.*", lr_factor=3.0, weight_decay=0.0),)}
RULES: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "sgd, nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True} | OWN_RATE,
    "sgd, no momentum": {"name": "sgd", "momentum": 0.0},
    "sgd, frozen": {"name": "sgd", "momentum": 0.9} | FROZEN,
    "adam": {"name": "adam"} | OWN_RATE,
    "adam, frozen": {"name": "adam", "eps": 1e-3} | FROZEN,
    "keras-adam": {"name": "keras-adam", "eps": 1e-3} | OWN_RATE,
    "keras-adam, frozen": {"name": "keras-adam"} | FROZEN,
    "keras-sgd": {"name": "keras-sgd", "momentum": 0.9} | OWN_RATE,
    "keras-sgd, nesterov": {"name": "keras-sgd", "momentum": 0.9, "nesterov": True} | FROZEN,
    "2012": {"name": "2012", "momentum": 0.9},
}


@pytest.fixture(autouse=True)
def kernels_are_large(monkeypatch):
    """And biases are small, so that a group may hold both."""
    monkeypatch.setattr(fused_update, "LARGE", 100)
    monkeypatch.setattr(Masters, "_in_pieces", lambda self, rule: False)  # as on a GPU


class Trained:
    """A small network, channels last, whose gradients are drawn: those of even steps contiguous."""

    def __init__(self, rule: dict[str, Any], *, one_pass: bool) -> None:
        self.model = build(SMALL).to(memory_format=torch.channels_last).train()
        self.masters = Masters(self.model, one_pass=one_pass)
        self.rule = optim.make(self.model, Optim(**{"lr": 0.02, "weight_decay": 0.1} | rule))

    def learn(self, step: int) -> None:
        draw = torch.Generator().manual_seed(step)
        for p in self.masters.working.parameters():
            drawn = torch.randn(p.shape, generator=draw).to(p.dtype)
            p.grad = torch.empty_like(p).copy_(drawn) if step % 2 else drawn
        self.masters.take_gradients(self.rule)
        groups.freeze(self.rule, step, **LENGTHS)
        execution.update(self.rule, self.masters)

    def steps(self, which: range) -> Trained:
        for step in which:
            groups.set_rate(self.rule, 1 - step / 8)
            groups.over(self.rule, step, **LENGTHS)
            self.learn(step)
        return self

    def replayed(self, tape: Tape) -> Trained:
        take = Captured(self.rule, tape, 1)

        def learn(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            self.learn(int(self.at))
            return x, labels

        for self.at in range(STEPS):
            groups.set_rate(self.rule, 1 - self.at / 8)
            key = groups.over(self.rule, self.at, **LENGTHS)
            take(learn, torch.zeros(1), torch.zeros(1), key)
        return self

    @property
    def found(self) -> dict[str, Tensor]:
        return {**self.model.state_dict(), **optim.memory_of(self.rule, self.model)}


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert [*ours] == [*theirs]
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].stride()) == (value.dtype, value.stride()), name
        torch.testing.assert_close(ours[name], value, rtol=2e-6, atol=2e-7, msg=name)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_six_steps_are_those_of_torch(rule):
    ours, theirs = (Trained(rule, one_pass=one).steps(range(STEPS)) for one in (True, False))
    assert [narrow.numel() for narrow in ours.masters._alone.values()] == [108, 1440, 480]
    agree(ours.found, theirs.found)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rates_that_are_tensors_mean_the_same(rule, monkeypatch):
    """As in a step that is replayed; of Keras's Adam with both corrections in them."""
    monkeypatch.setattr(captured, "WARM_UP", STEPS)
    agree(
        Trained(rule, one_pass=True).replayed(Tape()).found,
        Trained(rule, one_pass=False).steps(range(STEPS)).found,
    )


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adam, frozen", "keras-adam", "2012"])
def test_either_goes_on_where_the_other_stopped(name, one):
    rule = RULES[name]
    first = Trained(rule, one_pass=one).steps(range(3))
    second = Trained(rule, one_pass=not one)
    second.model.load_state_dict(first.model.state_dict())
    second.masters.round_all()
    saved = {k: v.clone() for k, v in optim.memory_of(first.rule, first.model).items()}
    optim.restore_memory(second.rule, second.model, saved)
    agree(second.steps(range(3, STEPS)).found, first.steps(range(3, STEPS)).found)


@pytest.mark.parametrize("name", ["sgd", "adam", "2012"])
def test_working_weights_are_the_masters_rounded_to_the_nearest(name):
    trained = Trained(RULES[name], one_pass=True).steps(range(2))
    pairs = zip(trained.model.parameters(), trained.masters.working.parameters(), strict=True)
    assert all(torch.equal(wide.to(narrow.dtype), narrow) for wide, narrow in pairs)
    assert all(p.grad is None for p in trained.masters.working.parameters())


def test_small_tensors_are_torchs_to_the_bit_and_the_others_are_not_widened(monkeypatch):
    monkeypatch.setattr(fused_update, "LARGE", 1000)
    rule = RULES["keras-adam"]
    ours, theirs = (Trained(rule, one_pass=one).steps(range(3)) for one in (True, False))
    assert [narrow.numel() for narrow in ours.masters._alone.values()] == [1440]
    assert len(ours.masters.widened) == len(theirs.masters.widened) - 1
    agree(ours.found, theirs.found)
    same = [name for name, value in theirs.found.items() if torch.equal(ours.found[name], value)]
    assert {n for n in theirs.found if not n.startswith("conv2.weight")} <= {*same}


class Listens(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in ASKING
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_nothing_is_asked_of_a_device(rule, monkeypatch):
    """But by the interpreter, which reads and writes as a GPU would: its launches are left out."""
    from alexnet.training import update_kernels

    class Launched:
        def __getitem__(self, grid):
            return lambda *tensors, **flags: None

    for name in ("sgd", "keras_sgd", "adam"):
        monkeypatch.setattr(update_kernels, name, Launched())
    trained = Trained(rule, one_pass=True)
    trained.replayed(Tape())
    with Listens():
        trained.learn(STEPS)


def test_no_gradient_is_no_gradient():
    trained = Trained(RULES["sgd"], one_pass=True)
    before = trained.model.conv2.weight.clone()
    trained.masters.working.fc3.weight.grad = torch.ones_like(trained.masters.working.fc3.weight)
    trained.masters.take_gradients(trained.rule)
    execution.update(trained.rule, trained.masters)
    assert torch.equal(trained.model.conv2.weight, before)
    assert {n.partition("/")[0] for n in trained.found if "/" in n} == {"fc3.weight"}


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9999)])
def test_adams_corrections_are_those_of_float64(betas):
    """Many steps, where the series ends and the difference begins."""
    wide, narrow = torch.zeros(5), torch.zeros(5, dtype=torch.bfloat16)
    rule = torch.optim.Adam([wide], lr=1.0, betas=betas, eps=1e-8, fused=True)
    slope = np.array([1.0, -2.0, 0.5, 4.0, -0.25])
    for step in (1, 2, 3, 10, 400, 1000, 1001, 30000):
        state = {"exp_avg": torch.full((5,), 0.5), "exp_avg_sq": torch.full((5,), 2.0)}
        rule.state[wide] = {"step": torch.tensor(step - 1.0), **state}
        wide.zero_()
        narrow.grad = torch.from_numpy(slope).bfloat16()
        fused_update.step(rule, rule.param_groups[0], [(wide, narrow)])
        m = betas[0] * 0.5 + (1 - betas[0]) * slope
        s = betas[1] * 2.0 + (1 - betas[1]) * slope**2
        first, second = 1 - betas[0] ** step, 1 - betas[1] ** step
        expected = -m / first / (np.sqrt(s / second) + 1e-8)
        np.testing.assert_allclose(wide.numpy(), expected, rtol=1e-6, err_msg=str(step))


def test_a_gradient_may_be_of_float32():
    """Two values beside one tensor: of working weights that are float32 as their masters are."""
    wide, narrow = torch.ones(5), torch.ones(5)
    narrow.grad = torch.full((5,), 1 + 2.0**-20)  # bf16 would lose the second
    rule = torch.optim.SGD([wide], lr=0.5, fused=True)
    fused_update.step(rule, rule.param_groups[0], [(wide, narrow)])
    assert wide.tolist() == narrow.tolist() == [0.5 - 2.0**-21] * 5


def test_what_is_said_of_devices_and_rules(monkeypatch):
    cuda, sgd = torch.device("cuda"), Optim(name="sgd")
    monkeypatch.setattr(fused_update, "agrees", lambda device, plan: True)
    assert fused_update.way(CPU, sgd) == "torch"
    assert fused_update.way(cuda, sgd) == "one pass"
    assert fused_update.way(cuda, Optim(name="muon")) == "torch (no kernel for muon)"
    monkeypatch.setattr(fused_update, "agrees", lambda device, plan: False)
    assert "computes something else" in fused_update.way(cuda, sgd)

    def no_compiler(device, plan):
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(fused_update, "agrees", no_compiler)
    assert fused_update.way(cuda, sgd) == "torch (triton: Failed to find C compiler.)"
    monkeypatch.setattr(fused_update.importlib.util, "find_spec", lambda name: None)
    assert fused_update.way(cuda, sgd) == "torch (triton is not installed)"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_kernel_is_tried_before_it_is_used(rule, monkeypatch):
    plan = Optim(**{"weight_decay": 0.1} | rule)
    assert fused_update.agrees(CPU, plan)
    launch = fused_update._launch

    def wrongly(name, group, *others):
        launch(name, group | {"lr": group["lr"] * 1.001}, *others)

    monkeypatch.setattr(fused_update, "_launch", wrongly)
    assert not fused_update.agrees(CPU, plan)


@pytest.mark.parametrize("replayed", [True, False])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_kernels_are_compiled_beforehand_and_nothing_is_moved(rule, replayed, monkeypatch):
    from alexnet.training import update_kernels

    monkeypatch.setattr(captured, "WARM_UP", STEPS)  # a tape cannot replay the interpreter
    flags = []

    class Compiled:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            def launched(*tensors, **given):
                flags.append((self.kernel.__name__, *sorted(given.items())))
                self.kernel[grid](*tensors, **given)

            return launched

    for name in ("sgd", "keras_sgd", "adam"):
        monkeypatch.setattr(update_kernels, name, Compiled(getattr(update_kernels, name)))
    trained = Trained(rule, one_pass=True)
    before = {name: value.clone() for name, value in trained.found.items()}
    trained.masters.rehearse(trained.rule, replayed=replayed)
    assert [*trained.found] == [*before]
    assert all(torch.equal(trained.found[name], value) for name, value in before.items())
    assert len(trained.rule.state) == 0
    compiled = {*flags}
    trained.replayed(Tape()) if replayed else trained.steps(range(2))
    assert compiled == {*flags}


def test_a_run_rehearses_its_update(data_root, monkeypatch):
    monkeypatch.setattr(computing, "fast_bf16", lambda device: True)
    asked = []
    monkeypatch.setattr(Masters, "rehearse", lambda self, rule, *, replayed: asked.append(replayed))
    keys = TINY | {"train.batch": 2, "train.precision": "bf16"}
    plan = recipes.override(recipes.load("cifar10-quick"), keys)
    stage = set_up(plan, Device(CPU, "bf16"), data_root, log.Console(quiet=True))
    loop.rehearse(stage)
    assert asked == [False]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_what_was_decided_is_done_and_recorded(monkeypatch, optimizer):
    real = fused_update.way
    monkeypatch.setattr(fused_update, "agrees", lambda device, plan: True)
    monkeypatch.setattr(fused_update, "way", lambda device, rule: real(torch.device("cuda"), rule))
    monkeypatch.setattr(computing, "fast_bf16", lambda device: True)
    subject = Subject("alexnet-cifar", Device(CPU, "bf16"), batch=2, size=None, optimizer=optimizer)
    one = optimizer == "adam"
    assert subject.computing.to_json()["update"].startswith("one pass" if one else "torch (no")
    assert bool(subject.masters._alone) is one
    # Two processes, or float32, leave no masters to update.
    how = replace(subject.computing, weights="autocast")
    assert execution.masters(how, subject.model) is None


def test_every_rule_that_is_named_has_a_kernel_and_others_have_none():
    with_kernel = {
        name
        for name in optim.RULES
        if type(optim.make(build(SMALL), Optim(name=name))) in fused_update.LAUNCHES
    }
    assert with_kernel == {*optim.WEIGHT_BY_WEIGHT}
