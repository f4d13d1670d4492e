"""The outputs of a layer as vectors, one a picture, and which pictures lie near each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.loader import Source, in_order
from alexnet.errors import DataError, UnknownName, UsageError
from alexnet.models import table
from alexnet.models.table import Network
from alexnet.run.classifier import Classifier
from alexnet.run.computing import evaluating, lent
from alexnet.run.device import Device
from alexnet.run.named import Named

POOLS = ("flatten", "mean")
MOST_BYTES = 4 * 2**30  # of vectors; more is refused before anything is computed


@dataclass(frozen=True, eq=False)
class Embedding:
    """One layer's outputs for some pictures.

    ``vectors`` is float32 ``(N, D)``. ``labels`` are int64 ``(N,)`` into ``classes``, ``indices``
    int64 ``(N,)`` say which pictures, counted within the part of the data set. ``pool`` is how maps
    became vectors, one of ``POOLS``; ``data`` names the split, e.g. ``cifar10/test``; ``files`` the N
    files that the pictures came from, None where there were none; ``precision``: it was computed in.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    classes: tuple[str, ...]
    layer: str
    pool: str
    data: str
    files: tuple[str, ...] | None = None
    precision: str = "float32"

    def __len__(self) -> int:
        return len(self.vectors)


def embed(
    model: Classifier,
    part: Named,
    device: Device,
    *,
    layer: str | None = None,
    pool: str = "flatten",
    batch: int = 100,
) -> Embedding:
    """Run the pictures of a split up to ``layer`` and keep what leaves it, in the split's order.

    ``layer`` is any row of the network's table; None: ``fc7``, which its ReLU, ``relu7``, has not yet
    seen, or in a network without one what the last dense row takes. ``pool`` says what becomes of maps
    ``(C, H, W)``: ``flatten`` keeps every value in that order, ``mean`` averages each map. Only one batch of maps is in memory at a time.

    Raises ``UnknownName`` for a layer or pool that does not exist, ``DataError`` for no pictures,
    ``UsageError`` where the vectors would take more than ``MOST_BYTES``.
    """
    if pool not in POOLS:
        raise UnknownName("pool", pool, POOLS)
    layer, source = layer or _usual(model.module.network), part.source
    if not len(source):
        raise DataError(f"{part.name} holds no pictures to embed")
    files = part.files()
    batches = _outputs(model, source, device, layer, pool, batch)
    vectors, labels, indices = _empty(0), [], []
    for done, (values, truths, places) in enumerate(batches):
        if not done:
            _refuse_large(len(source), values.shape[1], layer, pool)
            vectors = _empty(len(source), values.shape[1])
        vectors[done * batch : done * batch + len(values)] = values
        labels.append(truths)
        indices.append(places)
    truth, which = np.concatenate(labels), np.concatenate(indices)
    seen = part.classes, layer, pool, part.name, files, device.precision
    return Embedding(vectors, truth, which, *seen)


def _usual(network: Network) -> str:
    names = [row.name for row in network.rows]
    return "fc7" if "fc7" in names else table.last_features(network)


def some(source: Source, count: int | None, seed: int = 0) -> Source:
    """Return ``count`` pictures of a split, drawn by ``seed``, in the split's order; None: all.

    Raises ``UsageError`` for a count below 1 or above what the split holds.
    """
    if count is None:
        return source
    if not 1 <= count <= len(source):
        raise UsageError(f"{count} of {len(source):,} pictures; choose 1 to {len(source)}")
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(source))[:count]
    return Source(source.images, source.labels, source.chosen[np.sort(drawn)])


@dataclass(frozen=True)
class Neighbour:
    """A picture near another: its place in the embedding, and how far away (Euclidean)."""

    position: int
    distance: float


def neighbours(space: Embedding, position: int, count: int = 10) -> list[Neighbour]:
    """Return the ``count`` pictures nearest to the one at ``position``, itself left out.

    Exact: every distance is computed, from differences. Nearest first, ties by position. Raises
    ``UsageError`` for a position or a count that the embedding does not have.
    """
    if not 0 <= position < len(space):
        raise UsageError(f"picture {position} of {len(space):,}; choose 0 to {len(space) - 1}")
    if not 1 <= count < len(space):
        raise UsageError(f"{count} neighbours among {len(space):,}; choose 1 to {len(space) - 1}")
    squares = np.concatenate(list(_squared_distances(space.vectors, space.vectors[position])))
    squares[position] = np.inf
    nearest = np.argsort(squares, kind="stable")[:count]
    return [Neighbour(int(i), float(np.sqrt(squares[i]))) for i in nearest]


def _squared_distances(
    vectors: NDArray[np.float32], point: NDArray[np.float32], rows: int = 1000
) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(vectors), rows):
        yield np.square(vectors[start : start + rows] - point).sum(1, dtype=np.float64)


@torch.inference_mode()
def _outputs(
    model: Classifier,
    source: Source,
    device: Device,
    layer: str,
    pool: str,
    batch: int,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield vectors, labels and indices of every batch; the module's mode is left as it was."""
    module = model.module
    with lent(module, device), evaluating(module):
        for read in in_order(source, batch, device.torch):
            x = model.preprocessing(read.pictures)
            with device.autocast():
                values = module.activations(x, (layer,))[layer]
            vectors = _as_vectors(values.float(), pool).cpu().numpy()
            yield vectors, read.labels.cpu().numpy(), read.indices.cpu().numpy()


def _as_vectors(values: Tensor, pool: str) -> Tensor:
    """Turn ``(N, C, H, W)`` or ``(N, D)`` into ``(N, D)``."""
    if values.ndim == 4 and pool == "mean":
        return values.mean((2, 3))
    return values.flatten(1)


def _empty(count: int, width: int = 1) -> NDArray[np.float32]:
    return np.empty((count, width), np.float32)


def _refuse_large(count: int, width: int, layer: str, pool: str) -> None:
    size = 4 * count * width
    if size > MOST_BYTES:
        most = MOST_BYTES // (4 * width)
        instead = "" if pool == "mean" else "pool 'mean', "
        raise UsageError(
            f"{count:,} pictures of {width:,} values each at layer {layer!r} take "
            f"{size / 2**30:.1f} GiB; choose {instead}a later layer, or a count of at most {most:,}"
        )
