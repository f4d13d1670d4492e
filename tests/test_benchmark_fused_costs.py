"""A step predicted for a GPU with kernels of one pass, from what they read and write."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alexnet.benchmark import fused_costs
from alexnet.benchmark import subject as subject_module
from alexnet.benchmark.costs import Cost, cost
from alexnet.benchmark.explain import explain
from alexnet.benchmark.predict import update_of
from alexnet.errors import UsageError
from alexnet.models import rows, table, zoo
from alexnet.models.table import Network
from alexnet.run.device import Device
from alexnet.training import optim

CPU = Device(torch.device("cpu"), "float32")
BF16 = Device(torch.device("cpu"), "bf16")

BEHIND = {  # bytes of a value of bf16 before a pool and behind it, as the kernels read and write
    "z in, y out; dy, z in, dz out": ((rows.ReLU("r"),), 2 * 5, 0),
    "z for its sums, z in, y out; dy, z for the sums; dy, z in, dz out": (
        (rows.ReLU("r"), rows.BatchNorm("n"), rows.GELU("g")),
        2 * 8,
        0,
    ),
    "z in, y and taps out; dy, taps, z in, dz out": (
        (rows.ReLU("r"), rows.MaxPool("p", kernel=3, stride=2)),
        2 * 3,
        2 * 2 + 2,
    ),
    "z for its sums, z in, y, taps, peaks out; dy, peaks for the sums; dy, taps, z in, dz out": (
        (rows.ReLU("r"), rows.BatchNorm("n"), rows.MaxPool("p", kernel=3, stride=2)),
        2 * 4,
        2 * 5 + 2,
    ),
}


def as_one(behind, batch, width=2):
    """Costs by name of a convolution from 3x32x32 to 8x11x11 with rows behind it."""
    conv = rows.Conv("c", channels=8, kernel=2, stride=3)
    network = Network("small", (conv, *behind), 32, "torch", "", "")
    return {c.name: c for c in fused_costs.costs(table.trace(network), batch, width)}


@pytest.mark.parametrize("passes", BEHIND)
def test_what_stands_behind_a_convolution_is_read_and_written(passes):
    behind, each, pooled = BEHIND[passes]
    of_z, of_y = 8 * 11 * 11, 8 * 5 * 5
    found = as_one(behind, batch=3)
    assert list(found) == ["c", " ".join(row.name for row in behind)]
    assert found["c"].bytes == 3 * 2 * (3 * (3072 + of_z)) + 3 * 2 * (12 * 8 + 8)
    assert list(found.values())[1] == Cost(
        " ".join(row.name for row in behind), "epilogue", 0.0, 3 * (each * of_z + pooled * of_y)
    )


def test_a_map_too_large_to_index_is_left_to_torch():
    most = (2**31 - 1) // 3072
    assert "r" in as_one((rows.ReLU("r"), rows.BatchNorm("n")), most + 1)
    assert "r n" in as_one((rows.ReLU("r"), rows.BatchNorm("n")), most)


def test_pictures_are_folded_once():
    """227x227 to 55x55 windows of 11 by 4: 57x57 squares of 48 values in bf16, of float32 pictures."""
    found = fused_costs.costs(table.trace(zoo.network("keras-lab")), 2, 2)[1]
    moved = 2 * (4 * 3 * 227 * 227 + 2 * 48 * 57 * 57)
    assert found == Cost("conv1 folded", "folding", 0.0, moved)


def test_a_response_norm_of_a_gpu_is_as_wide_as_its_map_and_its_denominator():
    found = {c.name: c for c in fused_costs.costs(table.trace(zoo.network("torch-lrn")), 4, 2)}
    assert found["norm1"] == Cost("norm1", "norm", 0.0, 4 * (2 * 5 + 8) * 96 * 27 * 27)


def test_large_layers_move_in_one_pass_and_small_ones_by_torch():
    """keras-lab: conv1 has 34,944 weights, fc8 40,970 and three norms 1,216, all below 2**18."""
    traced = table.trace(zoo.network("keras-lab"))
    every, small = table.totals(traced).trainable, 34_944 + 40_970 + 1_216
    assert fused_costs.update(traced, "sgd") == 20 * (every - small) + 32 * small
    assert fused_costs.update(traced, "keras-adam") == 28 * (every - small) + 40 * small
    assert fused_costs.MOVED.keys() == set(optim.WEIGHT_BY_WEIGHT)


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_every_row_is_counted_once_as_one_and_none_asks_for_more(name):
    traced = table.trace(zoo.network(name))
    found = fused_costs.costs(traced, 4, 2)
    names = [n for c in found if c.kind != "folding" for n in c.name.split()]
    assert names == [step.row.name for step in traced]
    apart = [cost(step, 4, 2) for step in traced]
    assert sum(c.flops for c in found) == sum(c.flops for c in apart)
    assert sum(c.bytes for c in found if c.kind != "folding") <= sum(c.bytes for c in apart)


def test_another_gpu_is_predicted_with_its_kernels_where_they_are_asked_for():
    how = {"batch": 4, "size": None, "rounds": 1, "optimizer": "sgd", "parts": False}
    how |= {"predicts": True, "rates": (1e12, 1e10)}
    gpu = explain("keras-lab", BF16, **how, fused=True)
    assert "sgd, fused one pass, update one pass, convolutions direct" in gpu.text()
    told = gpu.to_json()["prediction"]
    assert (told["fused"], told["update"]) == ("one pass", "one pass")
    assert explain("keras-lab", BF16, **how).to_json()["prediction"]["fused"] == "apart"


@pytest.mark.parametrize(
    "changes",
    [
        {"rates": (None, None)},
        {"compiled": True},
        {"convolutions": "winograd"},
        {"predicts": False},
    ],
)
def test_a_gpu_that_is_not_here_needs_its_rates(changes):
    how = {"batch": 4, "size": None, "rounds": 1, "optimizer": "sgd", "parts": False}
    how |= {"predicts": True, "rates": (1e12, 1e10), "fused": True}
    with pytest.raises(UsageError, match="--fused predicts for a GPU that is not here"):
        explain("keras-lab", CPU, **how | changes)


@pytest.mark.parametrize(("precision", "rule"), [("float32", "sgd"), ("bf16", "muon")])
def test_weights_move_as_torch_has_it_where_no_kernel_does(precision, rule):
    assert update_of(True, precision, rule) == update_of(False, "bf16", "sgd") == "torch"
    assert update_of(True, "bf16", "sgd") == "one pass"


def test_a_step_is_predicted_as_it_was_computed(monkeypatch):
    """As on a GPU: what ``run.computing`` decided is what is predicted, and said."""
    decide = subject_module.plan_here
    monkeypatch.setattr(
        subject_module,
        "plan_here",
        lambda *a, **k: replace(decide(*a, **k), fused="one pass", update="torch"),
    )
    monkeypatch.setattr(Device, "matrix_rate", lambda self: 1e11)
    monkeypatch.setattr(Device, "memory_rate", lambda self: 1e10)
    how = {"batch": 2, "size": None, "rounds": 1, "optimizer": "sgd"}
    found = explain("alexnet-cifar", CPU, **how, parts=False, predicts=True).prediction
    assert (found.fused, found.update) == ("one pass", "torch")
    assert found.by_kind()["epilogue"] > 0
