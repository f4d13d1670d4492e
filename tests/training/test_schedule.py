"""Schedules at the points where their formulas say something simple."""

import math

import pytest

from alexnet.recipe import Duration, Schedule
from alexnet.training.schedule import EarlyStopping, Plateau, factor, memory

TOTAL, EPOCH = 100, 10


def at(step, **plan):
    return factor(Schedule(**plan), step, TOTAL, steps_per_epoch=EPOCH, batch=4)


def test_constant_is_one():
    assert {at(s, name="constant") for s in range(TOTAL)} == {1.0}


def test_one_cycle_is_a_triangle():
    plan = {"name": "one-cycle", "warmup": Duration(2, "epochs"), "start": 0.2}
    assert at(0, **plan) == pytest.approx(0.2)
    assert at(10, **plan) == pytest.approx(0.6)
    assert at(20, **plan) == 1.0
    assert at(60, **plan) == pytest.approx(0.5)
    assert at(99, **plan) == pytest.approx(1 / 80)


def test_one_cycle_without_warmup_falls_from_one_to_end():
    assert at(0, name="one-cycle") == 1.0
    assert at(50, name="one-cycle", end=0.1) == pytest.approx(0.55)


def test_cosine_is_half_way_in_the_middle():
    assert at(0, name="cosine") == 1.0
    assert at(50, name="cosine") == pytest.approx(0.5)
    assert at(25, name="cosine", end=0.1) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)


def test_step_multiplies_every_so_often():
    plan = {"name": "step", "every": Duration(3, "epochs"), "factor": 0.5}
    assert [at(s, **plan) for s in (0, 29, 30, 59, 60, 90)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_drops_come_at_their_times_whatever_the_order_and_the_unit():
    times = (Duration(60, "steps"), Duration(2.5, "epochs"), Duration(360, "examples"))
    plan = {"name": "drops", "at": times, "factor": 0.5}
    expected = {0: 1, 24: 1, 25: 0.5, 59: 0.5, 60: 0.25, 89: 0.25, 90: 0.125, 99: 0.125}
    assert {s: at(s, **plan) for s in expected} == expected


def test_plateau_is_left_to_its_rule():
    assert at(50, name="plateau") == 1.0


def test_memory_of_the_rules_goes_on_where_it_was():
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9]
    for cut in range(len(losses)):
        whole, first = Plateau(0.1, 0.5, 2), Plateau(0.1, 0.5, 2)
        stop, early = EarlyStopping(3), EarlyStopping(3)
        expected = [(whole.see(x), whole.lr, stop.see(x)) for x in losses]
        got = [(first.see(x), first.lr, early.see(x)) for x in losses[:cut]]
        again, later = Plateau(**memory(first)), EarlyStopping(**memory(early))
        got += [(again.see(x), again.lr, later.see(x)) for x in losses[cut:]]
        assert got == expected
