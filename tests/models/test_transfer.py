"""Heads, frozen rows, and the rows that run once."""

from __future__ import annotations

import pytest

from alexnet.errors import RecipeError
from alexnet.models import table, transfer, zoo
from alexnet.models.rows import BatchNorm, Conv, Dense, Dropout, Flatten, ReLU
from alexnet.models.table import Network


def totals(network):
    return table.totals(table.trace(network)).trainable


def test_the_published_head_has_the_published_count():
    """9216-4096-1024-10 with ReLUs: 41,958,410 trained values, 44,428,106 with the features."""
    owt = zoo.network("owt", classes=10)
    assert totals(transfer.with_head(owt, (4096, 1024))) == 44_428_106
    assert totals(transfer.with_head(owt, (4096, 1024))) - 2_469_696 == 41_958_410
    assert totals(transfer.with_head(owt, ())) == 2_469_696 + 9217 * 10


def test_the_rows_of_a_head():
    rows = transfer.with_head(zoo.network("owt", classes=3), (5,), 0.2).rows[-6:]
    assert rows == (
        Flatten("flatten"),
        Dropout("headdrop1", p=0.2),
        Dense("head1", units=5),
        ReLU("headrelu1"),
        Dropout("headdrop2", p=0.2),
        Dense("head2", units=3),
    )
    normed = transfer.with_head(zoo.network("owt", classes=3), (5,), norm=True).rows[-4:]
    assert normed == (
        Dense("head1", units=5, bias=False),
        BatchNorm("headnorm1"),
        ReLU("headrelu1"),
        Dense("head2", units=3),
    )
    plain = transfer.with_head(zoo.network("keras-lab"), (7,)).rows[-4:]
    assert [row.name for row in plain] == ["flatten", "head1", "headrelu1", "head2"]
    assert transfer.with_head(zoo.network("owt", classes=3), ()).classes == 3


def test_a_table_without_flatten_takes_no_head():
    network = Network("n", (Conv("c", channels=2), Dense("d", units=2)), 8, "torch", "", "")
    with pytest.raises(RecipeError, match="n has no such row"):
        transfer.with_head(network, ())


def test_patterns_of_frozen_rows():
    owt = zoo.network("owt")
    assert transfer.frozen_rows(owt, ("conv[12]", "fc8")) == {"conv1", "conv2", "fc8"}
    assert transfer.frozen_rows(owt, ()) == frozenset()
    with pytest.raises(
        RecipeError, match=r"'cnov\*' fits no row of owt; its rows are conv1, relu1"
    ):
        transfer.frozen_rows(owt, ("conv*", "cnov*"))


@pytest.mark.parametrize(
    ("name", "patterns", "last"),
    [
        ("owt", ("conv*",), "flatten"),  # dropout behind it draws chance
        ("owt", ("conv1", "conv2"), "pool2"),
        ("owt", ("conv1", "conv3"), "pool1"),
        ("owt", ("conv2",), None),
        ("owt", (), None),
        ("owt", ("conv*", "fc6", "drop6"), "relu6"),
        ("keras-lab", ("conv*",), "relu1"),  # norm1 moves while it trains
        ("keras-lab", ("conv1", "norm1"), "pool1"),
        ("torch-lrn", ("conv1",), "norm1"),  # response normalisation holds nothing
    ],
)
def test_which_rows_run_once(name, patterns, last):
    network = zoo.network(name)
    count = transfer.fixed_rows(table.trace(network), transfer.frozen_rows(network, patterns))
    assert (network.rows[count - 1].name if count else None) == last


def test_rows_without_values_alone_are_nothing_to_gain():
    network = Network("n", (ReLU("r"), BatchNorm("b"), Dense("d", units=2)), 8, "torch", "", "")
    assert transfer.fixed_rows(table.trace(network), frozenset()) == 0


def test_multiply_adds_of_training():
    """conv1 of owt: 64 x 3 x 121 x 55 x 55 = 70,276,800; all: 714,188,480."""
    steps = table.trace(zoo.network("owt"))
    conv1, every = 70_276_800, 714_188_480
    count = transfer.training_multiply_adds
    assert count(steps, frozenset(), 0) == 3 * every
    assert count(steps, frozenset({"conv1"}), 0) == 3 * every - 2 * conv1
    assert count(steps, frozenset({"conv1"}), 3) == 3 * (every - conv1)
