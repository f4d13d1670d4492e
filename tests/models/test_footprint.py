"""What the table says that a step keeps, against what autograd keeps."""

from __future__ import annotations

import math

import pytest
import skipping
import torch

from alexnet.models import footprint, table, transfer, wiring, zoo
from alexnet.models.build import build
from alexnet.models.rows import Conv, Dense, Flatten, MaxPool, ReLU
from alexnet.models.table import Network

BATCH = 3
# Every kind of row is in one of them.
CASES = [
    ("alexnet-cifar", 32),
    ("alexnet-2012-source", 67),
    ("cuda-convnet-13pct", 24),
    ("cuda-convnet-18pct", 32),
    ("owt", 63),
    ("keras-lab", 67),
    ("alexnet-bn", 64),
    ("cifar-eight-gelu", 32),
]


def really_kept(model, x, first=0):
    """Bytes of all storages that the backward pass will read, but for the model's own tensors."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found, alive = {}, []

    def seen(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        model(x, first)
    return sum(found.values())


def of_table(network, size, frozen=frozenset(), first=0):
    chain = not wiring.held(network.rows)
    return footprint.kept(table.trace(network, size), frozen, first, 4, chain=chain)


def built(network, size):
    return build(network, size).to(memory_format=torch.channels_last).train()


def pictures(size):
    x = torch.randn(BATCH, 3, size, size)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_activations_are_what_autograd_keeps(name, size):
    network = zoo.network(name, classes=10)
    if "fc6" in [row.name for row in network.rows]:
        network = transfer.with_head(network, (16,), 0.5)
    real = really_kept(built(network, size), pictures(size)) / BATCH
    assert of_table(network, size) == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("make", skipping.NETWORKS.values(), ids=skipping.NETWORKS)
def test_a_branch_keeps_its_maps_too(make):
    real = really_kept(built(make(), 32), pictures(32)) / BATCH
    assert of_table(make(), 32) == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("frozen", [("conv*", "norm*"), ("conv[12]", "norm[12]")])
def test_frozen_rows_before_the_first_trained_one_keep_nothing(frozen):
    network = transfer.with_head(zoo.network("alexnet-cifar"), (16,))
    names = transfer.frozen_rows(network, frozen)
    model = built(network, 32)
    model.freeze(names)
    real = really_kept(model, pictures(32)) / BATCH
    assert of_table(network, 32, names) == pytest.approx(real, rel=0.03)
    assert of_table(network, 32, names) < 0.6 * of_table(network, 32)


def test_by_hand():
    """conv1 of 2x8x8 from 3x8x8, ReLU in place, 2x4x4 by the pool, 32 by flattening, 5 outputs."""
    rows = (
        Conv("conv1", channels=2, kernel=3, padding=1),
        ReLU("relu1"),
        MaxPool("pool1", kernel=2, stride=2),
        Flatten("flatten"),
        Dense("fc2", units=5),
    )
    network = Network("n", rows, 8, "torch", "", "")
    kept = 3 * 64 + 2 * 64 + 32  # what enters conv1, pool1 and fc2
    assert of_table(network, 8) == 4 * kept + 8 * 32  # and where each maximum was
    steps = table.trace(network)
    assert footprint.passing(steps, 4) == 4 * (3 * 64 + 2 * 64)
    assert footprint.passing(steps[3:], 2) == 2 * 64
    assert footprint.passing([], 4) == 0
    assert math.prod(steps[-1].outputs) == 5
