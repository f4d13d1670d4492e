"""In which order pictures come, and how they get to the device.

Order and augmentation are functions of (seed, epoch, step), never of history: a run that is resumed
at any step sees exactly the batches it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.cache import Dataset
from alexnet.data.splits import part_in, select


def fold(seed: int, *parts: int | str) -> int:
    """Derive a 63-bit seed from a seed and what it is for, e.g. ``fold(0, "order", epoch)``."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by ``fold(seed, *parts)``."""
    return torch.Generator().manual_seed(fold(seed, *parts))


@dataclass(frozen=True)
class Batch:
    """Some pictures. ``indices`` say which, counted within the source."""

    indices: Tensor  # (N,) int64
    pictures: Tensor  # (N, H, W, 3) uint8
    labels: Tensor  # (N,) int64


@dataclass(frozen=True)
class Source:
    """A chosen part of a data set, ready to be read in any order.

    ``images`` is uint8 ``(N, H, W, 3)``, usually memory-mapped; ``chosen`` the int64 indices that
    belong to the split.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the labels of the split, in its order."""
        return self.labels[self.chosen]

    def read(self, positions: NDArray[np.int64], device: torch.device) -> Batch:
        """Fetch the pictures at ``positions`` of the split."""
        at = self.chosen[positions]
        return Batch(
            torch.from_numpy(at),
            torch.from_numpy(self.images[at]).to(device),
            torch.from_numpy(self.labels[at]).to(device),
        )

    def resident(self, device: torch.device) -> Source | Resident:
        """Return the split with its pictures on the device, where that is not the CPU."""
        return self if device.type == "cpu" else Resident.of(self, device)


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
        """Copy a split to the device once."""
        batch = source.read(np.arange(len(source)), device)
        return cls(source.chosen, batch.pictures, batch.labels)

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the labels of the split, in its order."""
        return self.labels.cpu().numpy()

    def read(self, positions: NDArray[np.int64], device: torch.device) -> Batch:
        """Fetch the pictures at ``positions`` of the split."""
        at = torch.from_numpy(positions).to(device, non_blocking=True)
        return Batch(torch.from_numpy(self.chosen[positions]), self.images[at], self.labels[at])


def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of ``0..count-1`` that depends on seed and epoch alone."""
    return np.random.Generator(np.random.PCG64(fold(seed, "order", epoch))).permutation(count)


def balanced_order(labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return as many positions as there are labels, every class equally often to one picture.

    A rare class shows each of its pictures several times, a frequent one some of its own: as often
    as can be alike, which ones and in which order by seed and epoch alone.
    """
    draw = np.random.Generator(np.random.PCG64(fold(seed, "order", epoch)))
    present = draw.permutation(np.unique(labels))
    share, rest = divmod(len(labels), len(present))
    picked = []
    for rank, label in enumerate(present):
        members = np.flatnonzero(labels == label)
        times, extra = divmod(share + (rank < rest), len(members))
        picked += [np.tile(members, times), draw.permutation(members)[:extra]]
    return draw.permutation(np.concatenate(picked))


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return float32 ``(classes,)``, inverse to how often a class occurs; their mean over pictures is 1.

    A class without pictures has the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    inverse = np.divide(len(labels), counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy((inverse / (counts > 0).sum()).astype(np.float32))


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
    device: torch.device,
) -> Iterator[Batch]:
    """Yield one epoch's batches in that epoch's order, from batch number ``first`` on.

    ``balanced``: every class equally often. Skipped batches are never read.
    """
    count = len(source)
    sequence = (
        balanced_order(source.targets, seed, epoch) if balanced else order(count, seed, epoch)
    )
    for step in range(first, steps_per_epoch(len(source), batch, drop_last=drop_last)):
        yield source.read(sequence[step * batch : (step + 1) * batch], device)


def in_order(source: Source | Resident, batch: int, device: torch.device) -> Iterator[Batch]:
    """Yield every picture of a split once, in the split's own order."""
    for start in range(0, len(source), batch):
        yield source.read(np.arange(start, min(start + batch, len(source))), device)
