"""Order as a function of (seed, epoch), and what reaches the device."""

import numpy as np
import pytest
import torch

from alexnet.data.loader import (
    Source,
    fold,
    generator,
    in_order,
    order,
    steps_per_epoch,
    training_batches,
)

CPU = torch.device("cpu")


@pytest.fixture
def source():
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return Source(images, np.arange(20) % 10, np.array([3, 5, 7, 11, 13, 17, 19]))


def batches(source, **changes):
    options = {"seed": 0, "epoch": 0, "device": CPU, **changes}
    return list(training_batches(source, 3, **options))


def test_an_epoch_shows_every_picture_of_the_split_once(source):
    seen = torch.cat([b.indices for b in batches(source)])
    assert sorted(seen.tolist()) == source.chosen.tolist()


def test_pictures_and_labels_belong_to_their_indices(source):
    for batch in batches(source):
        assert torch.equal(batch.pictures[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.labels, batch.indices % 10)


def test_epochs_and_seeds_differ_and_repeat(source):
    def indices(**changes):
        return torch.cat([b.indices for b in batches(source, **changes)]).tolist()

    assert indices() == indices()
    assert indices() != indices(epoch=1)
    assert indices() != indices(seed=1)


def test_starting_at_a_later_batch_gives_the_same_batches_without_reading_the_earlier(source):
    late = batches(source, first=2)
    assert [b.indices.tolist() for b in late] == [b.indices.tolist() for b in batches(source)[2:]]


def test_drop_last(source):
    assert [len(b.indices) for b in batches(source)] == [3, 3, 1]
    assert [len(b.indices) for b in batches(source, drop_last=True)] == [3, 3]
    assert steps_per_epoch(7, 3, drop_last=False) == 3
    assert steps_per_epoch(7, 3, drop_last=True) == 2


def test_in_order_is_the_order_of_the_split(source):
    seen = torch.cat([b.indices for b in in_order(source, 4, CPU)])
    assert seen.tolist() == source.chosen.tolist()


def test_order_is_the_same_on_every_machine():
    """PCG64 and SHA-256 are fixed by their specifications; so is what we make of them."""
    assert order(10, seed=0, epoch=0).tolist() == [3, 5, 1, 4, 2, 8, 6, 9, 7, 0]
    assert fold(0, "order", 0) == 5_239_234_051_273_267_208


def test_streams_for_different_purposes_are_different():
    assert fold(0, "a") != fold(0, "b")
    assert fold(0, 1, 12) != fold(0, 11, 2)
    first, second = generator(0, "x", 1), generator(0, "x", 2)
    assert not torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


def test_resident_reads_the_same_batches(source):
    from alexnet.data.loader import Resident

    resident = Resident.of(source, CPU)
    for ours, theirs in zip(batches(source), batches(resident), strict=True):
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.pictures, theirs.pictures)
        assert torch.equal(ours.labels, theirs.labels)
