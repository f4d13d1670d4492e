"""Compiled steps: one piece, compiled once, the same numbers; the compiler itself is left out."""

from __future__ import annotations

import pytest
import torch
from processes import TINY, untimed
from torch._dynamo.testing import CompileCounter

from alexnet import recipe as recipes
from alexnet.models import zoo
from alexnet.models.build import begin_step, build, draw_masks
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import execution, loop
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
PIECES = {"alexnet-cifar": 32, "cifar-eight": 32, "cifar-eight-gelu": 32, "keras-lab": 67}


@pytest.fixture
def counter(monkeypatch):
    """Let torch's compiler trace, and run what it found as it is: it would take a minute."""
    torch._dynamo.reset()
    found, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend=found))
    yield found
    torch._dynamo.reset()


@pytest.mark.parametrize("name", PIECES)
def test_a_network_is_compiled_whole_and_once(name, counter):
    model = build(zoo.network(name), PIECES[name]).train()
    called = execution.forward(model, 0, "default", 2)
    x = torch.rand(2, 3, PIECES[name], PIECES[name])
    for step in range(3):
        begin_step(model, seed=0, step=step)
        draw_masks(model, 2, CPU.torch)
        logits = called(x)
    assert counter.frame_count == 1
    assert torch.equal(logits, model(x))
    model.eval()
    assert torch.equal(called(x[:1]), model(x[:1]))  # an epoch's last batch
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore")  # of the pieces
def test_control_masks_that_are_drawn_within_break_it(counter):
    model = build(zoo.network("alexnet-cifar"), 32).train()
    begin_step(model, seed=0, step=0)
    execution.forward(model, 0, "default", 2)(torch.rand(2, 3, 32, 32))
    assert counter.frame_count > 1


def test_a_run_is_compiled_before_its_clock_runs_and_is_the_same_run(
    data_root, tmp_path, counter, monkeypatch
):
    monkeypatch.setattr(Device, "matrix_rate", lambda self: 1e11)
    changes = {"train.batch": 10, "train.epochs": 1, "train.convolutions": "direct"}
    changes |= {"data.train": "train[:20]", "data.validation": "", "data.test": "test[:10]"}
    histories, train = [], loop._train_epoch
    before = []

    def noted(*args):
        before.append(counter.frame_count)
        train(*args)

    monkeypatch.setattr(loop, "_train_epoch", noted)
    for compiled in (False, True):
        keys = TINY | changes | {"train.compile": compiled}
        plan = recipes.override(recipes.load("cifar10-quick"), keys)
        run = loop.fit(plan, tmp_path / str(compiled), device=CPU, root=data_root)
        histories.append([untimed(line) for line in run.history])
    assert before == [0, 1]
    assert counter.frame_count == 1
    assert histories[0] == histories[1]


def test_a_second_run_in_a_process_is_not_compiled_again(data_root, counter):
    """So that the benchmark's warm-up is one for all of its seeds."""
    for seed in range(2):
        keys = TINY | {"train.compile": True, "train.seed": seed}
        plan = recipes.override(recipes.load("cifar10-quick"), keys)
        stage = set_up(plan, CPU, data_root, log.Console(quiet=True))
        loop.rehearse(stage)
    assert counter.frame_count == 1
