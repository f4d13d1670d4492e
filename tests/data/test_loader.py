"""Order as a function of (seed, epoch), and what reaches the device."""

import contextlib
from typing import ClassVar

import numpy as np
import pytest
import torch

from alexnet.data import loader
from alexnet.data.loader import (
    Resident,
    Source,
    balanced_order,
    class_weights,
    fold,
    generator,
    in_order,
    order,
    shuffled,
    steps_per_epoch,
    training_batches,
    windowed,
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


def test_a_file_larger_than_memory_gives_the_same_and_is_told_of_two_batches_ahead(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8))
    images, labels = np.asarray(np.load(path, mmap_mode="r")), np.arange(40) % 10
    happened: list[tuple[str, list[int]]] = []

    class Noting(Source):
        def tell_of(self, positions):
            happened.append(("told", positions.tolist()))
            super().tell_of(positions)

        def read(self, positions, device):
            happened.append(("read", positions.tolist()))
            return super().read(positions, device)

    chosen = np.arange(39, 0, -1)
    small, large = Source(images, labels, chosen), Noting(images, labels, chosen, large=0)
    for how in ({}, {"rank": 1, "world": 2}, {"first": 3, "drop_last": True}):
        happened.clear()
        for one, other in zip(batches(small, **how), batches(large, **how), strict=True):
            assert torch.equal(one.pictures, other.pictures)
            assert torch.equal(one.indices, other.indices)
        told, read = ([at for what, at in happened if what == kind] for kind in ("told", "read"))
        assert told == read
        order = "".join(what[0] for what, _ in happened)  # told, told, told, read, told, read, ...
        assert order == "tt" + "tr" * (len(read) - 2) + "rr"


def test_an_evaluation_tells_of_what_it_will_read(source):
    asked = []

    class Noting(Source):
        def tell_of(self, positions):
            asked.extend(positions.tolist())

    noting = Noting(source.images, source.labels, source.chosen)
    assert len(next(in_order(noting, 2, CPU)).indices) == 2
    assert asked == [0, 1, 2, 3, 4, 5]


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


# --- rare classes ----------------------------------------------------------------------------

RARE = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [700, 50, 13]))


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


def test_balanced_batches_are_those_of_the_order(source):
    got = torch.cat([b.indices for b in batches(source, balanced=True)])
    expected = source.chosen[balanced_order(source.targets, 0, 0)]
    assert got.tolist() == expected.tolist()
    later = batches(source, balanced=True, first=1)
    assert torch.equal(torch.cat([b.indices for b in later]), got[3:])


def test_targets_are_the_labels_of_the_split(source):
    assert source.targets.tolist() == [3, 5, 7, 1, 3, 7, 9]
    assert Resident.of(source, CPU).targets.tolist() == source.targets.tolist()


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


def test_the_order_of_a_recipe_reaches_the_batches(source):
    seen = torch.cat([b.indices for b in batches(source, shuffle="never")])
    assert seen.tolist() == source.chosen.tolist()
    seen = torch.cat([b.indices for b in batches(source, window=1)])
    assert seen.tolist() == source.chosen.tolist()


def test_the_first_pictures_of_a_split(source):
    resident = Resident.of(source, CPU)
    for split in (source, resident):
        some = split.first(4)
        assert len(some) == 4
        assert some.targets.tolist() == split.targets[:4].tolist()
        read = some.read(np.arange(4), CPU)
        assert read.indices.tolist() == [3, 5, 7, 11]
        assert read.pictures[:, 0, 0, 0].tolist() == [3, 5, 7, 11]


# --- beside a GPU that computes ----------------------------------------------------------------


class Stream:
    """A stream that notes what it is told."""

    told: ClassVar[list[str]] = []

    def __init__(self, name="reading"):
        self.name = name

    def wait_stream(self, other):
        self.told.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        self.told.append(f"{self.name} notes")
        return f"event {len(self.told)}"

    def wait_event(self, event):
        self.told.append(f"{self.name} waits for {event}")


class Entered(contextlib.nullcontext):
    depth = 0

    def __enter__(self):
        Entered.depth += 1

    def __exit__(self, *error):
        Entered.depth -= 1


def test_a_gpu_copies_a_batch_while_it_computes(monkeypatch):
    """The reader's stream notes that a batch is there; the other one waits for that before it goes on."""
    monkeypatch.setattr(Stream, "told", [])
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("computing"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: Entered())
    recorded = []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, s: recorded.append(s.name))

    def read():
        for n in range(2):
            assert Entered.depth == 1
            yield loader.Batch(torch.tensor([n]), torch.zeros(1, 2, 2, 3), torch.tensor([n]))

    for batch in loader.beside(read(), torch.device("cuda")):
        assert Entered.depth == 0
        batch.awaited()
    assert Stream.told == [
        "reading waits for computing",
        *("reading notes", "computing waits for event 2"),
        *("reading notes", "computing waits for event 4"),
    ]
    assert recorded == ["computing"] * 4


def test_on_other_devices_nobody_waits():
    batch = loader.Batch(torch.tensor([0]), torch.zeros(1, 2, 2, 3), torch.tensor([0]))
    (found,) = loader.beside(iter([batch]), torch.device("cpu"))
    assert found is batch
    assert found.awaited() is batch
