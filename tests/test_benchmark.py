"""The step benchmark: what it prints follows from what it measured."""

import json
import statistics
from dataclasses import replace

import pytest
import torch

from alexnet.benchmark.step import step_rows, step_speed, step_text
from alexnet.errors import RecipeError, UsageError
from alexnet.models import table, zoo
from alexnet.run.device import Device

CPU = Device(torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def found():
    return step_speed("alexnet-cifar", CPU, batch=4, rounds=3, optimizer="muon")


def test_the_share_is_the_step_over_the_matrix_product(found):
    # Three passes over every layer, one over the whitening filters; two operations each.
    forward = table.totals(table.trace(zoo.network("alexnet-cifar"))).multiply_adds
    whitening = 3 * 9 * 64 * 32 * 32
    operations = 2 * 4 * (3 * forward - 2 * whitening)
    assert found.step_flops * found.seconds == pytest.approx(operations)
    assert found.share == pytest.approx(found.step_flops / found.matrix_rate)
    assert found.images_per_second == pytest.approx(4 / found.seconds)
    assert found.fastest <= found.seconds <= found.slowest


def test_a_record_says_on_what_it_was_measured(found):
    record = json.loads(json.dumps(found.to_json()))
    assert record["environment"]["threads"] == torch.get_num_threads()
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert {"commit", "date", "optimizer", "peak_memory", "precision"} <= record.keys()
    assert record["rounds"] == 3
    assert record["fastest"] <= record["seconds"] <= record["slowest"]
    assert "times" not in record


def test_the_text_carries_the_figures(found):
    text = step_text(found)
    assert "alexnet-cifar at 32x32, batch 4, float32" in text
    assert f"{found.share:.2f} of the matrix rate" in text


def test_a_row_has_the_mean_and_the_deviation_of_every_round(found):
    [row] = step_rows(replace(found, times=(1.0, 1.0, 1.0, 1.0, 4.0)))
    rates = [4.0, 4.0, 4.0, 4.0, 1.0]
    spread = row.measured
    assert (spread.n, spread.min, spread.median, spread.max) == (5, 1.0, 4.0, 4.0)
    assert spread.mean == statistics.mean(rates)  # not (1 + 4 + 4) / 3
    assert spread.deviation == statistics.stdev(rates)


@pytest.mark.parametrize("changes", [{"batch": 0}, {"rounds": 0}])
def test_nothing_to_measure_is_refused(changes):
    with pytest.raises(UsageError, match="must be at least 1"):
        step_speed("alexnet-cifar", CPU, **changes)


def test_an_unknown_rule_is_refused():
    with pytest.raises(RecipeError, match="adan"):
        step_speed("alexnet-cifar", CPU, batch=2, optimizer="adan")
