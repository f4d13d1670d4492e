"""Which rows are filled, which start fresh, and that it is said."""

from __future__ import annotations

import pytest
import torch

from alexnet.errors import DataError
from alexnet.exchange.filling import fill
from alexnet.models import transfer, zoo
from alexnet.models.build import build


def small(classes=10, **changes):
    network = transfer.with_head(zoo.network("alexnet-cifar", classes=classes), (32,), **changes)
    return build(network, 32, seed=1)


def test_rows_of_other_shapes_start_fresh_and_are_named():
    source, model = small(classes=10), small(classes=3)
    before = model.get_submodule("head2").weight.clone()
    filled = fill(model, build(source.network, 32, seed=9).state_dict(), "a file")
    assert "head1" in filled.rows
    assert filled.fresh == {"head2": "(10, 32) there, (3, 32) here"}
    assert torch.equal(model.get_submodule("head2").weight, before)
    assert filled.in_words().endswith("fresh: head2 ((10, 32) there, (3, 32) here)")


def test_running_statistics_are_part_of_a_row():
    source, model = small(), small()
    source.get_submodule("norm1").running_mean.fill_(3)
    fill(model, source.state_dict(), "a file")
    assert (model.get_submodule("norm1").running_mean == 3).all()
    without = {k: v for k, v in source.state_dict().items() if k != "norm1.running_mean"}
    assert fill(model, without, "a file").fresh == {"norm1": "its running_mean is not there"}


def test_names_of_another_program_are_taken_in_order():
    source, model = small(), small()
    foreign = {f"layer.{n}": v + 1 for n, v in enumerate(source.state_dict().values())}
    filled = fill(model, foreign, "theirs.pth")
    assert not filled.fresh
    assert torch.equal(
        model.get_submodule("head1").weight, source.get_submodule("head1").weight + 1
    )


def test_a_file_of_another_network_is_refused():
    with pytest.raises(
        DataError, match=r"theirs\.pth fills no row of alexnet-cifar: it holds x \(2,\)"
    ):
        fill(small(), {"x": torch.zeros(2)}, "theirs.pth")


def test_values_that_are_no_numbers_are_refused():
    weights = small().state_dict() | {"conv2.weight": torch.full((96, 64, 3, 3), torch.nan)}
    with pytest.raises(DataError, match=r"conv2\.weight holds values that are not numbers"):
        fill(small(), weights, "a file")
