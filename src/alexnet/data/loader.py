"""How pictures get to the device, batch by batch, in the order of their epoch (``order``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.cache import Dataset
from alexnet.data.order import balanced_order, fold, shuffled
from alexnet.data.splits import part_in, select
from alexnet.data.stream import LARGE, read_rows, tell_of, told


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by ``fold(seed, *parts)``."""
    return torch.Generator().manual_seed(fold(seed, *parts))


@dataclass(frozen=True)
class Batch:
    """Some pictures. ``indices`` say which, counted within the part's whole array.

    Where several processes divide a batch, ``whole`` has the indices of all of it, and the pictures
    here are its rows from ``first`` on.
    """

    indices: Tensor  # (N,) int64
    pictures: Tensor  # (N, H, W, 3) uint8
    labels: Tensor  # (N,) int64
    first: int = 0
    whole: Tensor | None = None  # (total,) int64; None: ``indices``
    copied: torch.cuda.Event | None = None  # when it is there: of ``beside``

    @property
    def everyone(self) -> Tensor:
        """Return the indices of the whole batch: int64 ``(total,)``."""
        return self.indices if self.whole is None else self.whole

    @property
    def rows(self) -> slice:
        """Return which rows of the whole batch are here."""
        return slice(self.first, self.first + len(self.indices))

    def awaited(self) -> Batch:
        """Return it once what is computed next has been told to wait until it is there."""
        if self.copied is not None:
            here = torch.cuda.current_stream(self.pictures.device)
            here.wait_event(self.copied)
            for tensor in (self.pictures, self.labels):
                tensor.record_stream(here)  # its memory is not given to the next batch before
        return self


@dataclass(frozen=True)
class Source:
    """A chosen part of a data set, ready to be read in any order.

    ``images`` is uint8 ``(N, H, W, 3)``, usually memory-mapped; ``chosen`` the int64 indices that
    belong to the split. Of more than ``large`` bytes of them, no more than a batch is kept mapped.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    chosen: NDArray[np.int64]
    large: int = field(default=LARGE, kw_only=True)

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the labels of the split, in its order."""
        return self.labels[self.chosen]

    def read(self, positions: NDArray[np.int64], device: torch.device) -> Batch:
        """Fetch the pictures at ``positions`` of the split."""
        at = self.chosen[positions]
        pictures = read_rows(self.images, at, large=self.large)
        return Batch(
            torch.from_numpy(at),
            moved(torch.from_numpy(pictures), device),
            moved(torch.from_numpy(self.labels[at]), device),
        )

    def tell_of(self, positions: NDArray[np.int64]) -> None:
        """Say that the pictures at ``positions`` of the split will be read (``stream.tell_of``)."""
        tell_of(self.images, self.chosen[positions], large=self.large)

    def first(self, count: int) -> Source:
        """Return the first ``count`` pictures of the split."""
        return replace(self, chosen=self.chosen[:count])


PIECE = 1 << 28  # bytes of a split that are copied to a device at a time
PINNED = 1 << 16  # bytes: the driver takes as much along with the call, and pinning takes longer


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; to a CUDA device so that nobody waits for the copy, large ones from pinned memory."""
    if device.type != "cuda":
        return tensor.to(device)
    large = tensor.nbytes >= PINNED
    return (tensor.pin_memory() if large else tensor).to(device, non_blocking=True)


def source_of(dataset: Dataset, expression: str, *, method: str = "slice", seed: int = 0) -> Source:
    """Return the pictures that a split expression selects (``splits.select``)."""
    chosen = select(dataset, expression, method=method, seed=seed)
    pictures = dataset.parts[part_in(dataset, expression)]
    return Source(pictures.images, pictures.labels, chosen)


@dataclass(frozen=True)
class Resident:
    """A split whose pictures already lie on the device: reading is one gather there."""

    chosen: NDArray[np.int64]
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, source: Source, device: torch.device) -> Resident:
        """Copy a split to the device once, in pieces: memory need not hold it a second time."""
        every, size = np.arange(len(source)), max(1, PIECE // source.images[0].nbytes)
        one = source.read(every[:2], device).pictures  # of features, laid out as they are read
        shape = (len(source), *one.shape[1:])
        images = torch.empty_strided(shape, one.stride(), dtype=one.dtype, device=device)
        for at in range(0, len(source), size):
            images[at : at + size] = source.read(every[at : at + size], device).pictures
        return cls(source.chosen, images, moved(torch.from_numpy(source.targets), device))

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the labels of the split, in its order."""
        return self.labels.cpu().numpy()

    def first(self, count: int) -> Resident:
        """Return the first ``count`` pictures of the split."""
        return Resident(self.chosen[:count], self.images[:count], self.labels[:count])

    def read(self, positions: NDArray[np.int64], device: torch.device) -> Batch:
        """Fetch the pictures at ``positions`` of the split."""
        at = moved(torch.from_numpy(positions), device)
        return Batch(torch.from_numpy(self.chosen[positions]), self.images[at], self.labels[at])

    def tell_of(self, positions: NDArray[np.int64]) -> None:
        """Nothing has to be fetched."""


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return float32 ``(classes,)``, inverse to how often a class occurs; their mean over pictures is 1.

    A class without pictures has the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    inverse = np.divide(len(labels), counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy((inverse / (counts > 0).sum()).astype(np.float32))


def portion(count: int, rank: int, world: int) -> slice:
    """Return the rows of ``count`` that process ``rank`` of ``world`` holds: even to one row."""
    return slice(count * rank // world, count * (rank + 1) // world)


def steps_per_epoch(count: int, batch: int, *, drop_last: bool) -> int:
    """Count the batches of an epoch."""
    return count // batch if drop_last else -(-count // batch)


def training_batches(
    source: Source | Resident,
    batch: int,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
    drop_last: bool = False,
    balanced: bool = False,
    rank: int = 0,
    world: int = 1,
    shuffle: str = "every",
    window: int = 0,
    device: torch.device,
) -> Iterator[Batch]:
    """Yield one epoch's batches in that epoch's order, from batch number ``first`` on.

    ``balanced``: every class equally often. ``shuffle``, ``window``: see ``shuffled``. Skipped batches
    are never read. ``batch`` is that of all ``world`` processes together; of each one, only the
    ``portion`` of process ``rank`` is read, which may be none of it. The disk is told of it while the
    batches before it are read.
    """
    count = len(source)
    sequence = (
        balanced_order(source.targets, seed, epoch)
        if balanced
        else shuffled(count, seed, epoch, shuffle=shuffle, window=window)
    )
    steps = range(first, steps_per_epoch(count, batch, drop_last=drop_last))
    parts = (sequence[step * batch : (step + 1) * batch] for step in steps)
    for positions in told(parts, lambda p: source.tell_of(p[portion(len(p), rank, world)])):
        yield read_portion(source, positions, rank, world, device)


def beside(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Read batches on a stream of their own on a CUDA device, so that it copies while it computes.

    For a thread that reads ahead; whoever computes with a batch calls ``Batch.awaited``.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = _reading(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    while True:
        with torch.cuda.stream(stream):  # not over a yield: it is the thread's, whoever ends this
            batch = next(batches, None)
        if batch is None:
            return
        yield replace(batch, copied=stream.record_event())


@cache
def _reading(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that pictures of a device are read on.

    torch hands out 32 of each priority in turn: one of the other priority is never the one that a
    step is captured on.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]


def read_portion(
    source: Source | Resident,
    positions: NDArray[np.int64],
    rank: int,
    world: int,
    device: torch.device,
) -> Batch:
    """Fetch a process's portion of the batch at ``positions``, and nothing else of it."""
    own = portion(len(positions), rank, world)
    read = source.read(positions[own], device)
    whole = torch.from_numpy(source.chosen[positions]) if world > 1 else None
    return replace(read, first=own.start, whole=whole)


def in_order(
    source: Source | Resident, batch: int, device: torch.device, *, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Yield every picture of a process's portion of a split once, in the split's own order.

    A portion without pictures is one batch without pictures.
    """
    own = portion(len(source), rank, world)
    starts = range(own.start, max(own.stop, own.start + 1), batch)
    parts = (np.arange(start, min(start + batch, own.stop)) for start in starts)
    for positions in told(parts, source.tell_of):
        yield source.read(positions, device)
