"""Scoring: loss, top-k, per class, confusion, calibration, one view or two.

Every figure is over all pictures of a split, none dropped, each counted once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.loader import Resident, Source, in_order
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import DataError
from alexnet.run.classifier import probabilities
from alexnet.run.device import Device


@dataclass(frozen=True)
class Scores:
    """What a network reached on a split. Accuracies are fractions, losses are in nats."""

    count: int
    loss: float  # mean cross-entropy of the averaged probabilities
    accuracy: float  # top-1
    top: dict[int, float]  # k -> share of pictures whose class is among the k most probable
    per_class: tuple[float, ...]  # recall of each class; nan where the split has none of it
    confusion: tuple[tuple[int, ...], ...]  # [true][predicted], pictures
    calibration_error: float  # mean gap of confidence and accuracy over 15 bins (Guo et al. 2017)
    interval: tuple[float, float]  # 95 % Wilson interval of the accuracy
    views: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values as JSON has them: names are text, and what is not a number is None."""
        recall = [None if math.isnan(share) else share for share in self.per_class]
        return {
            **asdict(self),
            "top": {str(k): share for k, share in self.top.items()},
            "per_class": recall,
            "confusion": [list(row) for row in self.confusion],
            "interval": list(self.interval),
        }


def predictions(
    module: nn.Module,
    source: Source | Resident,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str = "centre",
    batch: int = 500,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(probabilities, labels)`` on the CPU for every batch of a split, in its order."""
    was_training = module.training
    module.eval()
    try:
        for part in in_order(source, batch, device.torch):
            x = preprocessing(part.pictures)
            yield probabilities(module, x, device, views=views).cpu(), part.labels.cpu()
    finally:
        module.train(was_training)


def evaluate(
    module: nn.Module,
    source: Source | Resident,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str = "centre",
    batch: int = 500,
    top: tuple[int, ...] = (1, 3),
) -> Scores:
    """Score a network on a split; the module's mode is left as it was found.

    Raises ``DataError`` for an empty split.
    """
    if not len(source):
        raise DataError("the split to evaluate holds no pictures")
    found = predictions(module, source, preprocessing, device, views=views, batch=batch)
    parts = list(found)
    return score(torch.cat([p for p, _ in parts]), torch.cat([y for _, y in parts]), views, top)


def score(p: Tensor, labels: Tensor, views: str, top: tuple[int, ...]) -> Scores:
    """Compute ``Scores`` from probabilities ``(N, classes)`` and labels ``(N,)``."""
    count, classes = p.shape
    chosen = p.gather(1, labels[:, None])
    # How many classes are more probable than the true one; a tie counts against us.
    rank = (p >= chosen).sum(1) - 1
    matrix = confusion(labels.numpy(), p.argmax(1).numpy(), classes)
    right = int((rank < 1).sum())
    with np.errstate(invalid="ignore"):
        recall = matrix.diagonal() / matrix.sum(1)
    return Scores(
        count=count,
        loss=float(-chosen.double().clamp_min(1e-12).log().mean()),
        accuracy=right / count,
        top={k: int((rank < k).sum()) / count for k in top},
        per_class=tuple(float(r) for r in recall),
        confusion=tuple(tuple(int(n) for n in row) for row in matrix),
        calibration_error=calibration_error(p, labels),
        interval=wilson(right, count),
        views=views,
    )


def confusion(
    truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count pictures by (true class, predicted class): int64 ``(classes, classes)``."""
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def calibration_error(p: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error of probabilities ``(N, classes)``."""
    confidence, guess = p.double().max(1)
    right = (guess == labels).double()
    which = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, which, confidence - right)
    return float(gap.abs().sum() / len(labels))


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (95 % by default)."""
    share, zz = right / count, z * z / count
    middle = (share + zz / 2) / (1 + zz)
    half = z * math.sqrt(share * (1 - share) / count + zz / (4 * count)) / (1 + zz)
    return middle - half, middle + half
