"""Scoring: loss, top-k, per class, confusion, calibration, one view or many, one model or several.

Every figure is over all pictures of a split, none dropped, each counted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.loader import Resident, Source, in_order
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import DataError, NotFinite, UsageError
from alexnet.intervals import wilson
from alexnet.models.build import keep_dropping
from alexnet.run.classifier import Classifier
from alexnet.run.computing import as_in_training, evaluating, lent
from alexnet.run.device import Device
from alexnet.run.ranks import ALONE, Ranks
from alexnet.run.views import log_mean, log_probabilities


@dataclass(frozen=True, repr=False)
class Scores:
    """What a network reached on a split. Accuracies are fractions, losses are in nats."""

    count: int
    loss: float  # mean cross-entropy of the averaged probabilities
    accuracy: float  # top-1
    top: dict[int, float]  # k -> share of pictures whose class is among the k most probable
    balanced_accuracy: float  # mean recall of the classes that the split has pictures of
    macro_f1: float  # mean F1 of the classes that are true or predicted of some picture
    per_class: tuple[float, ...]  # recall of each class; nan where the split has none of it
    confusion: tuple[tuple[int, ...], ...]  # [true][predicted], pictures
    calibration_error: float  # mean gap of confidence and accuracy over 15 bins (Guo et al. 2017)
    interval: tuple[float, float]  # 95 % Wilson interval of the accuracy
    views: str
    precision: str = ""  # that models were asked in; empty of a run's own

    def __repr__(self) -> str:
        """Say in a line what was reached: a notebook shows it below the cell, a thousand classes too."""
        low, high = self.interval
        return (
            f"<Scores: {self.accuracy:.2%} of {self.count:,} pictures ({low:.2%} to {high:.2%}), "
            f"loss {self.loss:.4f}>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values as JSON has them: names are text, and what is not a number is None.

        Without the precision, which stands beside a run's scores in its record.
        """
        recall = [None if math.isnan(share) else share for share in self.per_class]
        return {
            **{key: value for key, value in asdict(self).items() if key != "precision"},
            "top": {str(k): share for k, share in self.top.items()},
            "per_class": recall,
            "confusion": [list(row) for row in self.confusion],
            "interval": list(self.interval),
        }

    def summary(self) -> dict[str, Any]:
        """Return ``to_json`` without what has an entry for each class."""
        whole = self.to_json()
        return {k: v for k, v in whole.items() if k not in ("per_class", "confusion")}


def predictions(
    module: nn.Module,
    source: Source | Resident,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str = "centre",
    batch: int = 500,
    ranks: Ranks = ALONE,
    dropout: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(probabilities, labels)`` on the CPU for every batch of a split, in its order.

    Of several ranks, each gets its own part of the split. ``dropout``: the seed of masks that stay
    active, a function of it and of the pictures; None: no dropout, as it should be.
    """
    how: dict[str, Any] = {"views": views, "batch": batch, "ranks": ranks, "dropout": dropout}
    for logs, labels in _on_device(module, source, preprocessing, device, **how):
        yield logs.exp().cpu(), labels.cpu()


def _on_device(
    module: nn.Module,
    source: Source | Resident,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str,
    batch: int,
    ranks: Ranks,
    dropout: int | None,
    between: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(log probabilities, labels)`` where they were computed: no batch waits for the next."""
    with evaluating(module):
        for part in in_order(source, batch, device.torch, rank=ranks.rank, world=ranks.world):
            between()
            if dropout is not None and len(part.indices):
                keep_dropping(module, seed=dropout, step=int(part.indices[0]))
            logs = log_probabilities(module, part.pictures, preprocessing, device, views=views)
            yield logs, part.labels


def evaluate(
    module: nn.Module,
    source: Source | Resident,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str = "centre",
    batch: int = 500,
    top: tuple[int, ...] = (1, 3),
    ranks: Ranks = ALONE,
    dropout: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> Scores:
    """Score a network on a split; the module's mode is left as it was found.

    Several ranks divide the split, and each returns the scores of all of it. ``dropout``: see
    ``predictions``. ``between``: called before each batch; what it raises ends the scoring.
    Raises ``DataError`` for an empty split.
    """
    if not len(source):
        raise DataError("the split to evaluate holds no pictures")
    how: dict[str, Any] = {"views": views, "batch": batch, "ranks": ranks, "dropout": dropout}
    found = _on_device(module, source, preprocessing, device, between=between, **how)
    logs, labels = (ranks.gather_rows(torch.cat(parts).cpu()) for parts in zip(*found, strict=True))
    return score(logs, labels, views, top)


@dataclass(frozen=True, eq=False)
class Answers:
    """What models say together, in a split's order: log probabilities ``(N, classes)``, labels ``(N,)``;
    in which views and precision they were asked.
    """

    logs: Tensor
    labels: Tensor
    views: str
    precision: str = ""

    def score(self, top: tuple[int, ...] = (1, 3)) -> Scores:
        """Return what they reached. Raises as ``score``."""
        found = score(self.logs, self.labels, self.views, top)
        return replace(found, precision=self.precision)


def answer_together(
    models: Sequence[Classifier],
    source: Source | Resident,
    device: Device,
    *,
    views: str | None = None,
    batch: int = 500,
) -> Answers:
    """Ask several models as one: the mean of their probabilities, each with its own input.

    ``views``: None: each in those that it was scored in. Raises ``DataError`` for an empty split.
    """
    if not len(source):
        raise DataError("the split to evaluate holds no pictures")
    every, labels = [], torch.zeros(0)
    for model in models:
        module, own = model.module, views or model.views
        how: dict[str, Any] = {"views": own, "batch": batch, "ranks": ALONE, "dropout": None}
        # As a run computes by default, whose scores these are then, to the last bit.
        with lent(module, device), as_in_training(module, device):
            found = _on_device(module, source, model.preprocessing, device, **how)
            logs, labels = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        every.append(logs)
    each = dict.fromkeys(views or model.views for model in models)
    return Answers(log_mean(every), labels, " + ".join(each), device.precision)


def tops(asked: tuple[int, ...] | None, classes: int) -> tuple[int, ...]:
    """Return the k to score, by default 1 and 3 (as far as classes go).

    Raises ``UsageError`` for a k below 1, or above the number of classes.
    """
    top = (1, min(3, classes)) if asked is None else asked
    for k in top:
        if not 1 <= k <= classes:
            raise UsageError(f"top-{k} of {classes} classes; choose k from 1 to {classes}")
    return top


def score(logs: Tensor, labels: Tensor, views: str, top: tuple[int, ...]) -> Scores:
    """Compute ``Scores`` from logarithms of probabilities ``(N, classes)`` and labels ``(N,)``.

    Raises ``NotFinite`` for answers that are no numbers.
    """
    count, classes = logs.shape
    if strange := int(logs.isnan().any(1).sum()):
        raise NotFinite(
            f"the answers to {strange:,} of {count:,} pictures are no numbers: the network's weights hold "
            "some that are none, or too large ones; train it again at a lower rate"
        )
    chosen = logs.gather(1, labels[:, None])
    # How many classes come before the true one: of equals the first, as argmax and the matrix have it.
    first = torch.arange(classes) < labels[:, None]
    rank = ((logs > chosen) | ((logs == chosen) & first)).sum(1)
    matrix = confusion(labels.numpy(), logs.argmax(1).numpy(), classes)
    right = int((rank < 1).sum())
    with np.errstate(invalid="ignore"):
        recall = matrix.diagonal() / matrix.sum(1)
    return Scores(
        count=count,
        loss=0.0 - float(chosen.double().mean()),  # not -0.0
        accuracy=right / count,
        top={k: int((rank < k).sum()) / count for k in top},
        balanced_accuracy=float(np.nanmean(recall)),
        macro_f1=macro_f1(matrix),
        per_class=tuple(float(r) for r in recall),
        confusion=tuple(tuple(int(n) for n in row) for row in matrix),
        calibration_error=calibration_error(logs.exp(), labels),
        interval=wilson(right, count),
        views=views,
    )


def confusion(
    truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count pictures by (true class, predicted class): int64 ``(classes, classes)``."""
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Return the mean F1 over classes of a confusion matrix ``[true][predicted]``.

    F1 is ``2 TP / (2 TP + FP + FN)``; a class that is nowhere, true or predicted, does not count.
    """
    twice, all_ = 2 * matrix.diagonal(), matrix.sum(0) + matrix.sum(1)
    return float(np.mean(twice[all_ > 0] / all_[all_ > 0]))


def calibration_error(p: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error of probabilities ``(N, classes)``."""
    confidence, guess = p.double().max(1)
    right = (guess == labels).double()
    which = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, which, confidence - right)
    return float(gap.abs().sum() / len(labels))
