"""What is due when, of epochs that no interval divides."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from alexnet import recipe as recipes
from alexnet.training import loop, occasions
from alexnet.training.saving import Progress
from alexnet.training.schedule import Plateau


def stage(length, epochs, **changes):
    recipe = recipes.override(recipes.load("keras-lab"), changes)
    lengths = {"steps_per_epoch": length, "batch": recipe.train.batch}
    return SimpleNamespace(
        recipe=recipe, steps_per_epoch=length, total=length * epochs, lengths=lengths, plateau=None
    )


@pytest.mark.parametrize(
    ("every", "epochs"),
    [
        ("1 epoch", [1, 2, 3, 4, 5, 6]),
        ("2 epochs", [2, 4, 6]),
        ("0.5 epochs", [1, 2, 3, 4, 5, 6]),  # of 625 steps, 312
        ("1000 steps", [2, 4, 5]),
        ("400 steps", [1, 2, 3, 4, 5, 6]),
        ("0 epochs", []),
    ],
)
def test_a_validation_waits_for_the_end_of_its_epoch(every, epochs):
    of = stage(625, 10, **{"evaluation.every": every})
    ends = [(n, Progress(step=625 * n)) for n in range(1, 7)]
    due = [n for n, at in ends if occasions.due_within(of, at, of.recipe.evaluation.every)]
    assert due == epochs


def test_a_part_of_an_epoch_is_an_epoch_that_ends():
    of = stage(625, 10, **{"evaluation.every": "1000 steps"})
    every = of.recipe.evaluation.every
    assert occasions.due_within(of, Progress(step=1100), every)  # the second began at 625
    assert not occasions.due_within(of, Progress(step=990), every)


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("300 steps", [300, 600, 925, 1225, 1550, 1850]),  # within each epoch
        ("700 steps", [700, 1400]),  # no epoch is so long
        ("0 epochs", []),
    ],
)
def test_lines_about_batches_come_though_no_epoch_is_so_long(every, steps):
    of = stage(625, 10, **{"train.log_every": every})
    taken = range(1, 3 * 625 + 1)
    assert [n for n in taken if occasions.line_due(of, Progress(step=n))] == steps


@pytest.mark.parametrize(
    ("every", "due"), [("0.001 epochs", 3), ("50 examples", 3), ("0 epochs", 0)]
)
def test_what_is_due_more_often_than_there_are_steps_is_due_at_each(every, due):
    of = stage(98, 10, **{"checkpoint.every": every, "train.log_every": every, "train.batch": 500})
    steps, interval = [Progress(step=n) for n in (1, 2, 3)], of.recipe.checkpoint.every
    assert sum(occasions.due(of, at, interval) for at in steps) == due
    assert sum(occasions.due_within(of, at, interval) for at in steps) == due
    assert sum(occasions.line_due(of, at) for at in steps) == due


def test_a_rate_that_waits_for_a_plateau_warms_up():
    of = stage(
        100, 10, **{"schedule.name": "plateau", "schedule.warmup": "1 epoch", "schedule.start": 0.2}
    )
    lr = of.recipe.optim.lr
    of.plateau = Plateau(lr / 2, 0.5, 1)
    assert [loop.rate_factor(of, step) for step in (0, 50, 100, 900)] == pytest.approx(
        [0.1, 0.3, 0.5, 0.5]
    )
