"""Order as a function of (seed, epoch), and what reaches the device."""

import contextlib
from typing import ClassVar

import numpy as np
import pytest
import torch

from alexnet.data import loader
from alexnet.data.loader import Resident, Source, in_order, steps_per_epoch, training_batches
from alexnet.data.order import balanced_order

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


def test_resident_reads_the_same_batches(source):
    from alexnet.data.loader import Resident

    resident = Resident.of(source, CPU)
    for ours, theirs in zip(batches(source), batches(resident), strict=True):
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.pictures, theirs.pictures)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_split_is_copied_to_a_device_in_pieces(source, monkeypatch):
    read, asked = Source.read, []

    def noted(self, positions, device):
        asked.append(len(positions))
        return read(self, positions, device)

    monkeypatch.setattr(Source, "read", noted)
    monkeypatch.setattr(loader, "PIECE", 3 * source.images[0].nbytes)
    resident = Resident.of(source, CPU)
    assert max(asked) == 3
    whole = source.read(np.arange(len(source)), CPU)
    assert torch.equal(resident.images, whole.pictures)
    assert torch.equal(resident.labels, whole.labels)


# --- rare classes ----------------------------------------------------------------------------


def test_balanced_batches_are_those_of_the_order(source):
    got = torch.cat([b.indices for b in batches(source, balanced=True)])
    expected = source.chosen[balanced_order(source.targets, 0, 0)]
    assert got.tolist() == expected.tolist()
    later = batches(source, balanced=True, first=1)
    assert torch.equal(torch.cat([b.indices for b in later]), got[3:])


def test_targets_are_the_labels_of_the_split(source):
    assert source.targets.tolist() == [3, 5, 7, 1, 3, 7, 9]
    assert Resident.of(source, CPU).targets.tolist() == source.targets.tolist()


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
    made = []
    monkeypatch.setattr(
        torch.cuda, "Stream", lambda device, priority: made.append(priority) or Stream()
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("computing"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: Entered())
    recorded = []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, s: recorded.append(s.name))

    def read():
        for n in range(2):
            assert Entered.depth == 1
            yield loader.Batch(torch.tensor([n]), torch.zeros(1, 2, 2, 3), torch.tensor([n]))

    loader._reading.cache_clear()
    for batch in loader.beside(read(), torch.device("cuda")):
        assert Entered.depth == 0
        batch.awaited()
    assert list(loader.beside(iter(()), torch.device("cuda"))) == []  # the next epoch
    loader._reading.cache_clear()
    assert made == [-1]  # of the pool that no graph is captured on
    assert Stream.told == [
        "reading waits for computing",
        *("reading notes", "computing waits for event 2"),
        *("reading notes", "computing waits for event 4"),
        "reading waits for computing",
    ]
    assert recorded == ["computing"] * 4


def test_on_other_devices_nobody_waits():
    batch = loader.Batch(torch.tensor([0]), torch.zeros(1, 2, 2, 3), torch.tensor([0]))
    (found,) = loader.beside(iter([batch]), torch.device("cpu"))
    assert found is batch
    assert found.awaited() is batch


@pytest.mark.parametrize(("count", "pinned"), [(8, False), (loader.PINNED, True)])
def test_nobody_waits_for_a_copy_to_a_gpu_and_small_ones_are_not_pinned(count, pinned, monkeypatch):
    told = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: told.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, **how: told.append(how) or self)
    loader.moved(torch.zeros(count, dtype=torch.uint8), torch.device("cuda"))
    assert told == [*(["pinned"] if pinned else []), {"non_blocking": True}]
