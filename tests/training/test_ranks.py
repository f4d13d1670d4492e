"""Two processes against one: the same batches, the same losses, the same weights to rounding."""

from __future__ import annotations

import json
import time
from dataclasses import replace as changed
from functools import cache, partial

import numpy as np
import processes
import pytest
import torch
from processes import KILLED, dies, replace, together, train

from alexnet import recipe as recipes
from alexnet.errors import CheckpointError, RecipeError, UsageError
from alexnet.models import zoo
from alexnet.models.rows import LRN, BatchNorm, Conv, Dense, Dropout, Flatten, MaxPool, ReLU
from alexnet.models.table import Network
from alexnet.run import checkpoint, log
from alexnet.run.ranks import Ranks
from alexnet.training import losses, parallel

# Eight steps of 25, 25, 25 and 15 pictures: no batch is even, the last one is smaller.
SHARED = {
    "data.train": "train[:90]",
    "train.drop_last": False,
    "train.average": 0.9,
    "augment.flip": "random",
    "augment.cutout": 8,
    "model.dropout": 0.3,
    "optim.name": "sgd",
    "optim.lr": 0.0005,  # at 0.002, a last bit that differs grows tenfold a step
    "train.convolutions": "direct",  # others have more of such last bits
    "schedule.name": "plateau",
    "schedule.patience": 1,
    "schedule.min_delta": 100.0,
    "checkpoint.every": "3 steps",
    "evaluation.keep": "best",
}
MUON = {
    **SHARED,
    "model.network": "two-towers",
    "optim.name": "muon",
    "schedule.name": "constant",
}
TOWERS = {
    **SHARED,
    "model.network": "two-towers",
    "model.dropout": 0.5,
    "train.parallel": "towers",
    "optim.name": "keras-adam",
}
MIXED = {
    **SHARED,
    "augment.mixup": 0.4,
    "train.batch": 20,
    "train.drop_last": True,
    "optim.lr": 0.0001,
}


def two_towers() -> Network:
    rows = (
        Conv("conv1", channels=8, kernel=5, stride=2, ceil=True),
        ReLU("relu1"),
        LRN("norm1", size=5, alpha=0.5, k=2.0),
        MaxPool("pool1", kernel=3, stride=2),
        # No bias: before a norm its gradient is nothing but rounding, which Adam would follow.
        Conv("conv2", channels=8, kernel=3, padding=1, groups=2, bias=False),
        # Keras's running variance.
        BatchNorm("norm2", momentum=0.3, unbiased=False),
        ReLU("relu2"),
        Conv("conv3", channels=8, kernel=3, padding=1),
        ReLU("relu3"),
        Flatten("flatten"),
        Dense("fc6", units=32),
        ReLU("relu6"),
        Dropout("drop6", p=0.5),
        Dense("fc8", units=10),
    )
    return Network("two-towers", rows, size=32, init="he", summary="", source="")


def with_two_towers() -> None:
    zoo.NETWORKS["two-towers"] = two_towers


def noting(folder) -> None:
    """Keep every step's loss, every position read, and the last weights' bits, by rank."""
    from alexnet.data.loader import Source
    from alexnet.run.launch import place
    from alexnet.training import record
    from alexnet.training.saving import Progress

    rank, losses, read = place().rank, [], []
    see, finish, source = Progress.see, record.finish, Source.read

    def noted(self, steps):
        losses.extend(step.loss for step in steps)
        see(self, steps)

    def seen(self, positions, device):
        read.append(sorted(self.chosen[positions].tolist()))
        return source(self, positions, device)

    def finished(stage, *args, **kwargs):
        bits = {n: processes.bits(t)[2] for n, t in stage.model.state_dict().items()}
        memory = {str(s): t for s, t in enumerate(losses)}
        found = {"losses": memory, "bits": bits, "read": read}
        (folder / f"rank-{rank}.json").write_text(json.dumps(found))
        return finish(stage, *args, **kwargs)

    Progress.see = noted
    replace("alexnet.training.record", "finish", with_=finished)
    Source.read = seen


def notes(folder, rank):
    return json.loads((folder / f"rank-{rank}.json").read_text())


PLANS = {"sgd": SHARED, "muon": MUON, "towers": TOWERS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_root):
    """Return the folders of a plan trained by one process and by two, made once."""

    @cache
    def made(plan):
        folder = tmp_path_factory.mktemp(plan)
        asked = {**PLANS, "mixed": MIXED}[plan]
        one = {**asked, "train.parallel": "data"}
        for name in ("one", "two"):
            (folder / f"notes-{name}").mkdir()
        changes = [with_two_towers]
        note = partial(noting, folder / "notes-one")
        assert train(folder / "one", data_root, one, *changes, note) == 0
        changes += [partial(noting, folder / "notes-two")]
        args = (folder / "two", data_root, asked, changes)
        assert together(processes._train, *args) == [0, 0]
        return folder

    return made


def assert_near(ours, theirs, share):
    """Every tensor differs by less than a share of its norm: of many values, one may have moved a
    ReLU or a maximum to its other side."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        gap = (ours[name].double() - value.double()).norm()
        assert gap <= share * value.double().norm() + 1e-6, name


@pytest.mark.parametrize("plan", [*PLANS, "mixed"])
def test_the_loss_curve_is_that_of_one_process(runs, plan):
    folder = runs(plan)
    one, *two = (
        list(notes(folder / f"notes-{where}", rank)["losses"].values())
        for where, rank in (("one", 0), ("two", 0), ("two", 1))
    )
    assert len(one) == 8
    assert two[0] == two[1], "every rank knows the loss of the whole batch"
    assert two[0] == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_saved_is_that_of_one_process(runs, plan):
    one, two = (checkpoint.newest(runs(plan) / name, print) for name in ("one", "two"))
    assert_near(two.weights, one.weights, 2e-3)
    assert_near(two.optimizer, one.optimizer, 5e-2 if plan == "sgd" else 2e-3)
    if plan != "muon":
        assert two.state["plateau"] == pytest.approx(one.state["plateau"], rel=1e-5)
    assert (one.state["progress"]["ranks"], two.state["progress"]["ranks"]) == (1, 2)
    assert two.model == one.model


@pytest.mark.parametrize("plan", ["sgd", "muon"])
def test_the_ranks_have_the_same_bits(runs, plan):
    first, second = (notes(runs(plan) / "notes-two", rank) for rank in (0, 1))
    assert first["bits"] == second["bits"]


@pytest.mark.parametrize("plan", PLANS)
def test_every_picture_is_scored_once(runs, plan):
    one, two = (
        json.loads((runs(plan) / name / "result.json").read_text()) for name in ("one", "two")
    )
    assert two["test"]["count"] == 50
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], rel=2e-2)
    for row, other in zip(two["test"]["confusion"], one["test"]["confusion"], strict=True):
        assert sum(row) == sum(other), "pictures of each class"
    lines = log.read_metrics(runs(plan) / "two" / log.METRICS)
    assert [line["step"] for line in lines] == [4, 8], "one rank writes"
    assert two["speed"]["ranks"] == 2
    assert two["speed"]["pictures"] == 180


def test_each_rank_reads_its_slice_and_nothing_else(runs):
    """Of the training pictures: behind what whitening and the rehearsal read of both."""
    whole, *parts = (
        [tuple(r) for r in notes(runs("sgd") / f"notes-{where}", rank)["read"]]
        for where, rank in (("one", 0), ("two", 0), ("two", 1))
    )
    batches = [read for read in whole if len(read) in (25, 15) and max(read) < 90][1:]
    first, second = (
        [read for read in part if len(read) in (12, 13, 7, 8) and max(read) < 90][1:]
        for part in parts
    )
    assert len(batches) == len(first) == len(second) == 8
    for batch, own, other in zip(batches, first, second, strict=True):
        assert sorted(own + other) == list(batch)
        assert abs(len(own) - len(other)) == 1
    # Nothing larger is read but the 90 of whitening.
    assert {len(r) for part in parts for r in part if max(r) < 90} <= {90, 12, 13, 7, 8}


def test_a_rank_may_have_no_picture_of_a_batch(tmp_path, data_root):
    """Of 26 pictures the second batch has one, as the validation split has."""
    few = SHARED | {"model.network": "two-towers", "optim.lr": 0.01}
    few |= {"data.train": "train[:26]", "data.validation": "train[26:27]"}
    assert train(tmp_path / "one", data_root, few, with_two_towers) == 0
    args = (tmp_path / "two", data_root, few, [with_two_towers])
    assert together(processes._train, *args) == [0, 0]
    one, two = (checkpoint.newest(tmp_path / name, print) for name in ("one", "two"))
    assert one.path.name == two.path.name
    assert_near(two.weights, one.weights, 2e-3)


@pytest.mark.parametrize("dead", [0, 1])
def test_killed_as_two_resumed_as_one(tmp_path, data_root, runs, dead):
    """From the checkpoint inside the second epoch, that rank 0 saved before one of them died."""
    folder = tmp_path / "run"
    death = partial(_on_rank, dead, dies("training.loop.train_step", 8))
    statuses = together(processes._train, folder, data_root, SHARED, [death])
    assert statuses[dead] == KILLED
    assert statuses[1 - dead] == 1, "the other one notices"
    assert checkpoint.newest(folder, print).path.name == "step-00000006"
    assert processes.resume(folder, data_root) == 0
    whole, resumed = (checkpoint.newest(f, print) for f in (runs("sgd") / "two", folder))
    assert_near(resumed.weights, whole.weights, 2e-3)
    assert resumed.state["progress"]["ranks"] == 1


def _on_rank(rank, change) -> None:
    from alexnet.run.launch import place

    if place().rank == rank:
        change()


def test_two_towers_go_on_as_one_device(tmp_path, data_root, runs):
    folder = tmp_path / "run"
    changes = [with_two_towers, dies("training.loop.train_step", 8)]
    assert together(processes._train, folder, data_root, TOWERS, changes) == [KILLED, KILLED]
    assert processes.resume(folder, data_root, with_two_towers) == 0
    whole, resumed = (checkpoint.newest(f, print) for f in (runs("towers") / "one", folder))
    assert_near(resumed.weights, whole.weights, 2e-3)


def signalled(rank, number, step) -> None:
    """One rank alone is sent a signal during a step."""
    import signal

    from alexnet.run.launch import place
    from alexnet.training import loop

    real = loop.train_step

    def interrupted(stage, batch, done):
        if done == step and place().rank == rank:
            signal.raise_signal(number)
        return real(stage, batch, done)

    replace("alexnet.training.loop", "train_step", with_=interrupted)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_at_one_step(tmp_path, data_root, rank):
    folder = tmp_path / "run"
    changes = [_exits, partial(signalled, rank, 15, 2)]
    assert together(processes._train, folder, data_root, SHARED, changes) == [143, 143]
    saved = checkpoint.newest(folder, print)
    assert saved.state["progress"]["step"] == 3


def slow_to_save(timeout: float) -> None:
    """Rank 0 takes longer over a checkpoint than an exchange between the ranks may take."""
    from datetime import timedelta

    real = checkpoint.save

    def slow(*args, **kwargs):
        time.sleep(1.5 * timeout)
        return real(*args, **kwargs)

    replace("alexnet.run.ranks", "TIMEOUT", with_=timedelta(seconds=timeout))
    replace("alexnet.run.checkpoint", "save", with_=slow)


def test_a_save_may_take_longer_than_an_exchange(tmp_path, data_root):
    override = SHARED | {"train.epochs": "1 step"}
    changes = [partial(slow_to_save, 4.0)]
    assert together(processes._train, tmp_path / "run", data_root, override, changes) == [0, 0]


def test_a_save_that_fails_holds_nobody_up(tmp_path, data_root):
    failing = partial(_on_rank, 0, _full)
    args = (tmp_path / "run", data_root, SHARED, [_exits, failing])
    assert together(processes._train, *args) == [1, 1]


def _full() -> None:
    def full(*args, **kwargs):
        raise CheckpointError("no space left on the disk")

    replace("alexnet.run.checkpoint", "save", with_=full)


def _exits() -> None:
    """End as the command line does: with the error's status."""
    from alexnet.errors import AlexNetError
    from alexnet.reporting import running

    real = running.run_and_draw

    def fit(*args):
        try:
            return real(*args)
        except AlexNetError as error:
            raise SystemExit(error.exit_code) from None

    replace("alexnet.reporting.running", "run_and_draw", with_=fit)


# --- without processes -----------------------------------------------------------------------


def plan(**changes):
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return recipes.override(recipes.load("cifar10-quick"), keys)


@pytest.mark.parametrize(
    ("changes", "world", "network", "message"),
    [
        ({"train__parallel": "towers"}, 1, "alexnet-2012", "needs two processes"),
        ({"train__parallel": "towers"}, 3, "alexnet-2012", "needs two processes"),
        ({"train__parallel": "towers"}, 2, "alexnet-2012", "'muon' moves whole kernels"),
        (
            {"train__parallel": "towers", "optim__name": "sgd"},
            2,
            "alexnet-cifar",
            "no two towers",
        ),
        ({"train__compile": True}, 2, "alexnet-cifar", "works in one process"),
    ],
)
def test_what_the_processes_cannot_do_is_refused(changes, world, network, message):
    recipe = plan(**changes, input__size=224)
    with pytest.raises(UsageError, match=message):
        parallel.of(recipe, Ranks(0, world), zoo.network(network))
    assert issubclass(RecipeError, UsageError)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_parts_of_a_loss_average_to_the_whole(weighted):
    """Uneven parts, one of them empty, with smoothing; and so do their gradients."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (10,), generator=draw)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.1]).double() if weighted else None
    whole = losses.mean_loss(logits, labels, 0.1, weights)
    (expected,) = torch.autograd.grad(whole, logits)
    found, total = torch.zeros_like(logits), 0.0
    for rank, rows in enumerate((slice(0, 7), slice(7, 10), slice(10, 10))):
        shared = parallel.Parallel(Ranks(rank, 3))
        part = shared.loss(logits[rows], labels[rows], 0.1, weights, 10)
        total += part.item() / 3
        found += torch.autograd.grad(part, logits)[0] / 3
    assert total == pytest.approx(whole.item())
    torch.testing.assert_close(found, expected)


def test_towers_read_whole_batches_and_data_ranks_their_own():
    assert parallel.Parallel(Ranks(1, 2)).readers == (1, 2)
    assert parallel.Parallel(Ranks(1, 2), two_towers()).readers == (0, 1)
    assert parallel.Parallel().readers == (0, 1)


def test_rows_of_all_ranks_are_all_rows():
    for world in (1, 2, 3, 8):
        found = [np.arange(5)[Ranks(rank, world).rows(5)] for rank in range(world)]
        assert np.concatenate(found).tolist() == [0, 1, 2, 3, 4]
        assert max(map(len, found)) - min(map(len, found)) <= 1


def test_alone_nothing_is_exchanged():
    alone, x = Ranks(), torch.arange(6.0).view(2, 3)
    assert alone.sum(x) is x
    assert alone.gather_rows(x) is x
    assert alone.gather([1.0, 2.0]).tolist() == [[1.0, 2.0]]
    assert alone.asked([15]) == [15]
    assert alone.decide("x", lambda: "y") == "y"
    assert changed(alone).main
