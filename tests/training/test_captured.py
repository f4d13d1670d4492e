"""A step that is replayed is the step: what changes is read from memory, and nothing is left behind."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from processes import TINY
from tape import Tape
from torch.nn import functional as F

from alexnet import recipe as recipes
from alexnet.models import rows, wiring
from alexnet.models.build import begin_step, build, draw_masks
from alexnet.models.table import Network
from alexnet.recipe import Duration, Group, Optim
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import captured, execution, groups, loop, optim, rehearsal
from alexnet.training.captured import WARM_UP, Captured
from alexnet.training.masters import Masters
from alexnet.training.stage import set_up

CPU = torch.device("cpu")
SMALL = Network(
    "small",
    (
        rows.Conv("conv1", channels=4, kernel=3, bias=False, whitening=True),
        rows.Conv("conv2", channels=6, kernel=3),
        rows.LRN("lrn2", size=3, alpha=1e-3, beta=0.75, k=1.0),
        rows.ReLU("relu2"),
        rows.MaxPool("pool2", kernel=3, stride=2),
        rows.BatchNorm("norm2"),
        rows.Flatten("flatten"),
        rows.Dense("fc6", units=8),
        rows.Dropout("drop6"),
        rows.Dense("fc7", units=3),
    ),
    size=9,
    init="torch",
    summary="",
    source="",
)
STEPS = 10
LENGTHS = {"steps_per_epoch": 5, "batch": 6}


def curve(rule, tape=None, *, masters=False, short=(), dtype=None):
    """Return losses, right answers and weights of ten steps, replayed from ``tape`` where there is one."""
    model = build(SMALL).train()
    apart = Masters(model) if masters else None
    called = apart.working if apart else model
    updates = optim.make(model, Optim(**{"lr": 0.02, "weight_decay": 1e-3} | rule))
    take = Captured(updates, tape, 6, dtype) if tape else None
    found = []
    for step in range(STEPS):

        def learn(x, labels, step=step):
            with torch.autocast("cpu", torch.bfloat16, enabled=masters):
                logits = called(x)
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()
            if apart:
                apart.take_gradients(updates)
            groups.freeze(updates, step, **LENGTHS)
            execution.update(updates, apart)
            return loss.detach(), (logits.detach().argmax(1) == labels).sum()

        draw, count = torch.Generator().manual_seed(step), 4 if step in short else 6
        x = torch.randn(count, 3, 9, 9, generator=draw)
        labels = torch.randint(3, (count,), generator=draw)
        begin_step(model, seed=0, step=step)
        draw_masks(model, count, CPU)
        groups.set_rate(updates, 1 - step / STEPS)
        key = groups.over(updates, step, **LENGTHS)
        found.append(take(learn, x, labels, key) if take else learn(x, labels))
    return [[float(n) for n in of] for of in found], model.state_dict()


SGD = {"name": "sgd", "momentum": 0.9}
HALFWAY = {"group": (Group(match="fc6.*", until=Duration(7, "steps")),)}
RULES = [
    SGD,
    SGD | {"nesterov": True} | HALFWAY,
    {"name": "adam"},
    {"name": "keras-adam"},
    {"name": "keras-adam"} | HALFWAY,
    {"name": "keras-sgd", "momentum": 0.9, "nesterov": True},
    {"name": "2012", "momentum": 0.9},
    {"name": "muon", "momentum": 0.6, "aux_lr": 0.01},
    {"name": "muon", "momentum": 0.6, "aux": "sgd", "aux_lr": 0.01} | HALFWAY,
    {"name": "rmsprop"},
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["name"] + "-until" * ("group" in r))
def test_replayed_steps_are_the_steps_to_the_bit(rule, monkeypatch):
    tape = Tape()
    found = curve(rule, tape)
    recordings = 2 if "group" in rule else 1
    assert (tape.recorded, tape.ran) == (
        1,
        WARM_UP * recordings,
    )  # three are left of the second key
    assert tape.replayed == STEPS - tape.ran
    with monkeypatch.context() as patch:
        patch.setattr(captured, "WARM_UP", STEPS)
        never = curve(rule, Tape())
    assert found[0] == never[0]
    assert all(torch.equal(found[1][name], value) for name, value in never[1].items())


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["name"] + "-until" * ("group" in r))
def test_rates_in_tensors_mean_the_same(rule):
    """In float32, and of Keras's Adam with its corrections: losses agree to rounding."""
    one, other = curve(rule)[0], curve(rule, Tape())[0]
    assert [n for n, _ in other] == pytest.approx([n for n, _ in one], rel=1e-4)


def test_a_graph_is_dropped_before_other_steps_warm_up(monkeypatch):
    """Else its memory and that of steps outside of graphs are taken at once."""
    tape, held = Tape(), []
    aside = tape.aside
    monkeypatch.setattr(tape, "aside", lambda work: held.append(len(tape.calls)) or aside(work))
    curve(SGD | HALFWAY, tape)
    assert held == [0] * 2 * WARM_UP


@pytest.mark.parametrize("short", [(0, 5), (4,), (7, 9)])
def test_an_epochs_last_batch_is_taken_in_between(short, monkeypatch):
    tape = Tape()
    found = curve({"name": "keras-adam"}, tape, short=short)
    assert (tape.ran, tape.replayed) == (WARM_UP, STEPS - WARM_UP - len(short))
    monkeypatch.setattr(captured, "WARM_UP", STEPS)
    never = curve({"name": "keras-adam"}, Tape(), short=short)
    assert found[0] == never[0]
    assert all(torch.equal(found[1][name], value) for name, value in never[1].items())


def test_control_a_rate_that_is_left_behind_shows(monkeypatch):
    filled = Captured._set_rates

    def once(self, device):
        if self._outputs is None:
            filled(self, device)

    one = curve(SGD, Tape())
    monkeypatch.setattr(Captured, "_set_rates", once)
    other = curve(SGD, Tape())
    assert not torch.allclose(one[1]["fc7.weight"], other[1]["fc7.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", [SGD, {"name": "keras-adam"}], ids=lambda r: r["name"])
def test_bf16_weights_are_replayed_too(rule, monkeypatch):
    """As on a GPU: in one pass over all weights, not in pieces of a cache."""
    monkeypatch.setattr(Masters, "_in_pieces", lambda self, rule: False)
    one, other = curve(rule, masters=True), curve(rule, Tape(), masters=True)
    assert [n for n, _ in other[0]] == pytest.approx([n for n, _ in one[0]], rel=0.02)


def test_pictures_that_a_convolution_would_round_are_rounded_before(monkeypatch):
    monkeypatch.setattr(Masters, "_in_pieces", lambda self, rule: False)
    one, other = (curve(SGD, Tape(), masters=True, dtype=of) for of in (None, torch.bfloat16))
    assert one[0] == other[0]
    assert all(torch.equal(other[1][name], value) for name, value in one[1].items())


@pytest.mark.parametrize(
    ("rest", "dtype"),
    [((), torch.bfloat16), ((wiring.Add("add", other=wiring.PICTURE),), None)],
    ids=["alone", "not alone"],
)
def test_which_pictures_a_graph_keeps_rounded(monkeypatch, rest, dtype):
    monkeypatch.setattr(execution, "CudaGraph", lambda device: Tape())
    model = build(SMALL)
    updates, how = optim.make(model, Optim(**SGD, lr=0.1)), SimpleNamespace(graph=True)
    network = replace(SMALL, rows=(rows.Conv("conv1", channels=3, kernel=1), *rest))
    take = execution.captured(how, updates, Device(CPU, "bf16"), 2, network)
    found = []
    for count in (2, 1):  # a whole batch, and an epoch's last
        groups.set_rate(updates, 1.0)
        x = torch.zeros(count, 3, 9, 9)
        take(lambda x, n: found.append(x.dtype) or (n, n), x, torch.zeros(count), 0)
    assert found == [dtype or torch.float32] * 2


def test_what_asks_for_a_number_cannot_be_recorded():
    model = build(SMALL).train()
    updates = optim.make(model, Optim(**SGD, lr=0.1))
    take, labels = Captured(updates, Tape(), 2), torch.zeros(2, dtype=torch.int64)

    def asks(x, labels):
        return x.sum() * float(x[0]), labels.sum()

    for _ in range(WARM_UP):
        groups.set_rate(updates, 1.0)
        take(asks, torch.ones(2), labels, None)
    groups.set_rate(updates, 1.0)
    with pytest.raises(RuntimeError, match="cannot wait for a number"):
        take(asks, torch.ones(2), labels, None)


def test_what_was_returned_is_not_overwritten():
    model = build(SMALL).train()
    updates = optim.make(model, Optim(**SGD, lr=0.1))
    take, found = Captured(updates, Tape(), 2), []
    for step in range(WARM_UP + 3):
        groups.set_rate(updates, 1.0)
        x = torch.full((2,), float(step))
        found.append(take(lambda x, n: (x.sum(), n.sum()), x, x.long(), None))
    assert [(float(a), int(b)) for a, b in found] == [(2 * s, 2 * s) for s in range(WARM_UP + 3)]


# --- within a run ----------------------------------------------------------------------------

CHANGES = TINY | {
    "data.train": "train[:30]",
    "data.validation": "",
    "data.test": "test[:10]",
    "train.batch": 3,
    "train.average": 0.9,
    "train.drop_last": True,
    "train.convolutions": "direct",  # a tape hears torch's kernels, not our own
    "evaluation.views": "centre",
    "evaluation.penalty": True,
}


def test_a_run_takes_its_steps_from_a_graph(data_root, monkeypatch):
    """``alexnet-cifar``: whitening, norms, dropout, Muon beside Adam, a running average."""
    plan, losses, tape = recipes.override(recipes.load("cifar10-quick"), CHANGES), [], Tape()
    for warm_up in (STEPS, WARM_UP):
        monkeypatch.setattr(captured, "WARM_UP", warm_up)
        stage = set_up(plan, Device(CPU, "float32"), data_root, log.Console(quiet=True))
        stage.captured = Captured(stage.optimizer, tape, plan.train.batch)
        stage.computing = replace(stage.computing, graph=True)
        batches = list(loop._batches(stage, 0, 0))[: WARM_UP + 3]
        found = [loop.train_step(stage, batch, step) for step, batch in enumerate(batches)]
        losses.append([float(loss) for loss, _ in found])
    assert losses[1] == losses[0]
    assert (tape.recorded, tape.replayed) == (1, 3)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_rehearsal_is_given_pictures_of_the_type_that_a_step_is(data_root, monkeypatch, dtype):
    """Else kernels, and a compiled network, are compiled for the second type within the clock."""
    plan, seen = recipes.override(recipes.load("cifar10-quick"), CHANGES), []
    stage = set_up(plan, Device(CPU, "bf16"), data_root, log.Console(quiet=True))
    stage.captured = Captured(stage.optimizer, Tape(), plan.train.batch, dtype)
    copied = rehearsal._copied

    @contextmanager
    def noted(stage):
        with copied(stage) as called:
            yield lambda x: seen.append(x.dtype) or called(x)

    monkeypatch.setattr(rehearsal, "_copied", noted)
    loop.rehearse(stage)
    assert set(seen) == {dtype or torch.float32}


def test_a_graph_is_made_where_that_was_decided(monkeypatch, data_root):
    monkeypatch.setattr(execution, "CudaGraph", lambda device: Tape())
    plan = recipes.override(recipes.load("cifar10-quick"), CHANGES)
    stage = set_up(plan, Device(CPU, "float32"), data_root, log.Console(quiet=True))
    assert stage.captured is None
    how = replace(stage.computing, graph=True)
    assert isinstance(execution.captured(how, stage.optimizer, stage.device, 3, SMALL), Captured)


def test_a_step_that_cuda_cannot_capture_says_what_to_do(monkeypatch):
    class Refuses:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Refuses)
    graph = captured.CudaGraph(torch.device("cuda"))
    with pytest.raises(captured.UsageError, match=r"\(operation not permitted .* capturing\); set"):
        graph.record(lambda: None)


def recorded(monkeypatch, entering, leaving=None):
    """Record, where torch raises one error while work is captured, and another where the capture ends."""

    class Capture:
        def __init__(self, *args, **kwargs):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *error):
            if leaving:
                raise leaving

    def work():
        raise entering

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    captured.CudaGraph(torch.device("cuda")).record(work)


TORCHS = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
DRIVERS = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")
BROKEN = RuntimeError("CUDA error: operation failed due to a previous error during capture")


@pytest.mark.parametrize(
    ("errors", "said"),
    [((TORCHS,), TORCHS), ((DRIVERS,), DRIVERS), ((TORCHS, BROKEN), TORCHS)],
    ids=["torch's", "the driver's", "behind a broken capture"],
)
def test_memory_that_runs_out_in_a_capture_is_not_the_capture_s_fault(monkeypatch, errors, said):
    with pytest.raises(RuntimeError) as caught:
        recorded(monkeypatch, *errors)
    assert caught.value is said


def test_a_capture_that_breaks_for_another_reason_is_the_capture_s_fault(monkeypatch):
    with pytest.raises(captured.UsageError, match="previous error during capture"):
        recorded(monkeypatch, RuntimeError("not permitted"), BROKEN)
