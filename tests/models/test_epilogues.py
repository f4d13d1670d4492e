"""Which rows run as one: a rule of tables, without torch."""

from __future__ import annotations

from alexnet.models import epilogues, rows, table, zoo
from alexnet.models.epilogues import Epilogue
from alexnet.models.table import Network

CONV = rows.Conv("conv", channels=8, kernel=3, padding=1)
NORM, RELU, GELU = rows.BatchNorm("norm"), rows.ReLU("relu"), rows.GELU("gelu")


def found(*of, size=16):
    traced = table.trace(Network("small", of, size, "torch", "", ""))
    return {one.rows: one for one in epilogues.together(traced)}


def test_a_convolution_takes_what_an_epilogue_has_a_place_for():
    one = found(CONV, RELU, NORM, GELU, rows.MaxPool("pool", kernel=2, stride=2))
    (only,) = one.values()
    assert only.rows == ("conv", "relu", "norm", "gelu", "pool")
    assert (only.conv, only.norm) == ("conv", "norm")
    assert only.what == Epilogue(relu=True, norm=True, activation="gelu", pool=(2, 2))


def test_what_has_no_place_begins_anew():
    pool = rows.MaxPool("pool", kernel=2, stride=2)
    assert list(found(CONV, pool, NORM, RELU)) == [("conv", "pool"), ("norm", "relu")]
    assert list(found(CONV, GELU, NORM)) == [("conv", "gelu"), ("norm",)]
    assert list(found(CONV, RELU, GELU)) == [("conv", "relu")]


def test_a_pool_that_overhangs_is_padded_or_wide_is_left_alone():
    for pool in (
        rows.MaxPool("pool", kernel=3, stride=2, ceil=True),
        rows.MaxPool("pool", kernel=3, stride=2, padding=1),
        rows.MaxPool("pool", kernel=16, stride=1),
    ):
        assert list(found(CONV, RELU, pool)) == [("conv", "relu")]
    assert list(found(rows.MaxPool("pool", kernel=2, stride=2))) == []  # of pictures


def test_rows_on_vectors_are_left_alone():
    assert found(rows.Flatten("flatten"), rows.Dense("fc", units=4), NORM, RELU) == {}


def test_what_is_read_again_ends_its_rows():
    found_ = epilogues.together(table.trace(zoo.network("owt-skip-as-published")))
    assert ("conv4",) not in [one.rows for one in found_]
    assert all(
        "conv4" not in one.rows[:-1] for one in found_
    )  # the branch reads it before its ReLU


def test_pictures_are_folded_where_their_squares_fill_eighths():
    assert epilogues.folds(3, 4, 1)
    assert not epilogues.folds(3, 1, 1)
    assert not epilogues.folds(3, 2, 1)  # 12 values
    assert not epilogues.folds(8, 4, 1)
    assert not epilogues.folds(3, 4, 2)
