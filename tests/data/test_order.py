"""The order of an epoch and what chance decides: functions of seed and epoch alone."""

import numpy as np
import pytest
import torch

from alexnet.data.loader import class_weights, generator
from alexnet.data.order import balanced_order, fold, order, shuffled, windowed

RARE = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [700, 50, 13]))


def test_order_is_the_same_on_every_machine():
    """PCG64 and SHA-256 are fixed by their specifications; so is what we make of them."""
    assert order(10, seed=0, epoch=0).tolist() == [3, 5, 1, 4, 2, 8, 6, 9, 7, 0]
    assert fold(0, "order", 0) == 5_239_234_051_273_267_208


def test_streams_for_different_purposes_are_different():
    assert fold(0, "a") != fold(0, "b")
    assert fold(0, 1, 12) != fold(0, 11, 2)
    first, second = generator(0, "x", 1), generator(0, "x", 2)
    assert not torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


def test_balanced_every_class_comes_equally_often():
    found = balanced_order(RARE, 0, 0)
    assert len(found) == len(RARE)
    assert sorted(np.unique(RARE[found], return_counts=True)[1]) == [254, 254, 255]


def test_balanced_the_pictures_of_a_class_come_equally_often_to_one():
    times = np.bincount(balanced_order(RARE, 0, 0), minlength=len(RARE))
    assert set(times[RARE == 0]) == {0, 1}
    assert set(times[RARE == 1]) == {5, 6}
    assert set(times[RARE == 3]) == {19, 20}


def test_balanced_over_epochs_every_picture_is_seen_and_every_class_gets_the_remainder():
    epochs = [balanced_order(RARE, 0, epoch) for epoch in range(30)]
    assert len(np.unique(np.concatenate(epochs))) == len(RARE)
    most = {RARE[e][np.bincount(RARE[e]).argmax() == RARE[e]][0] for e in epochs}
    assert most == {0, 1, 3}


def test_balanced_order_is_a_function_of_seed_and_epoch_and_is_mixed():
    first = balanced_order(RARE, 0, 0)
    assert np.array_equal(first, balanced_order(RARE, 0, 0))
    assert not np.array_equal(first, balanced_order(RARE, 0, 1))
    assert not np.array_equal(first, balanced_order(RARE, 1, 0))
    thirds = [np.bincount(RARE[part], minlength=4) for part in np.array_split(first, 3)]
    assert min(third[k] for third in thirds for k in (0, 1, 3)) > 60


def test_class_weights_are_inverse_and_one_on_average():
    weights = class_weights(RARE, 5)
    assert weights.dtype == torch.float32
    assert weights[[2, 4]].tolist() == [0.0, 0.0]
    assert weights[torch.from_numpy(RARE)].mean() == pytest.approx(1.0, rel=1e-5)
    sums = [float(weights[k]) * n for k, n in ((0, 700), (1, 50), (3, 13))]
    assert sums == pytest.approx([len(RARE) / 3] * 3)  # every class counts as much in all


def test_an_order_that_is_shuffled_never_or_after_the_first_epoch():
    plain, first = list(range(50)), {"shuffle": "after-first"}
    assert [shuffled(50, 0, epoch, shuffle="never").tolist() for epoch in (0, 3)] == [plain] * 2
    assert shuffled(50, 0, 0, **first).tolist() == plain
    for epoch in (1, 2):
        assert shuffled(50, 0, epoch, **first).tolist() == order(50, 0, epoch).tolist() != plain
    assert shuffled(50, 0, 0).tolist() == order(50, 0, 0).tolist()


@pytest.mark.parametrize("window", [1, 7, 256, 1000])
def test_a_window_shuffles_as_a_buffer_does(window):
    """Nothing comes more than a window early; what is late is late by chance: mean delay = window."""
    count = 1000
    found = windowed(count, window, 3, 5)
    assert sorted(found.tolist()) == list(range(count))
    early = found - np.arange(count)
    assert early.max() < window
    if window == 1:
        assert not early.any()
    if window == 7:  # a buffer gives each place away with probability 1/7: late ones are unbounded
        assert early.min() < -7
    assert found.tolist() == windowed(count, window, 3, 5).tolist()
    if window > 1:
        assert found.tolist() != windowed(count, window, 3, 6).tolist()
