"""The losses of a run's steps: left where they are computed, read several steps at a time.

Reading a number from a GPU waits until the GPU has done all that it was asked for, and then it idles
until it is asked again. On a CPU reading costs nothing, and every step is read at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.errors import NotFinite
from alexnet.run.device import Device
from alexnet.training import mixing
from alexnet.training.parallel import Parallel


@dataclass(frozen=True)
class Taken:
    """One step that was taken: its number and rate, and the pictures that it was taken on."""

    step: int
    rate: float
    pictures: Tensor  # int64 (N,), of the whole batch


@dataclass(frozen=True)
class Seen:
    """What a step gave: the whole batch's mean loss, its right answers, its pictures."""

    loss: float
    right: int
    count: int


class Losses:
    """Steps whose losses nobody has read yet, at most ``every`` of them: then ``full``.

    A loss that is no number is therefore found within ``every`` steps of its own.
    """

    def __init__(self, parallel: Parallel, device: Device) -> None:
        self._parallel, self._device, self.every = parallel, device, device.read_every
        self._taken: list[Taken] = []
        self._values: list[Tensor] = []

    @property
    def full(self) -> bool:
        """Say whether they have to be read now."""
        return len(self._taken) >= self.every

    def add(self, taken: Taken, loss: Tensor, right: Tensor) -> None:
        """Keep a step's loss and right answers, of one element each, on the device, unread."""
        self._taken.append(taken)
        self._values.append(torch.stack([loss.detach(), right.to(loss.dtype)]))

    @property
    def _advice(self) -> str:
        bf16 = self._device.precision == "bf16"
        return ", or set train.precision=float32" if bf16 else ""

    def read(self) -> list[Seen]:
        """Return what the steps gave, in their order, and forget them; several ranks must all call.

        Raises ``NotFinite`` with the number of the first step whose loss is no number.
        """
        if not self._taken:
            return []
        taken, self._taken = self._taken, []
        found = self._parallel.count(torch.stack(self._values))
        self._values = []
        for step, (loss, _) in zip(taken, found, strict=True):
            if not math.isfinite(loss):
                raise NotFinite(_not_finite(step, loss) + self._advice)
        return [Seen(*of, len(t.pictures)) for t, of in zip(taken, found, strict=True)]


def wide(loss: Tensor) -> Tensor:
    """Return a loss in float64, where sums are kept; in its own type where the device has none."""
    return loss if loss.device.type == "mps" else loss.double()


def mean_loss(
    logits: Tensor, labels: Tensor, smoothing: float, class_weights: Tensor | None
) -> Tensor:
    """Return the mean cross-entropy; with ``class_weights``, each picture by that of its class.

    Not ``F.cross_entropy``'s weights: those also weigh the classes that smoothing spreads to, and
    divide by the weights of the batch, so that a batch of rare classes would count no more.
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (each * class_weights[labels]).mean()


def batch_loss(
    parallel: Parallel,
    logits: Tensor,
    labels: Tensor,
    smoothing: float,
    class_weights: Tensor | None,
    total: int,
    kept: float = 1.0,
) -> Tensor:
    """Return what a process goes back from: the mean loss of a batch of ``total``, or its own part of it.

    ``kept``: the share of itself that every picture kept when it was mixed (``mixing.share``).
    """

    def against(labels: Tensor) -> Tensor:
        how = (logits, labels, smoothing, class_weights)
        return parallel.loss(*how, total) if parallel.divided else mean_loss(*how)

    return mixing.loss(against, labels, kept)


def _not_finite(taken: Taken, loss: float) -> str:
    first = ", ".join(map(str, taken.pictures[:4].tolist()))
    return (
        f"the loss is {loss} at step {taken.step} (learning rate {taken.rate:.3g}, pictures {first}, "
        "...). The last checkpoint is untouched. Lower optim.lr or lengthen schedule.warmup"
    )
