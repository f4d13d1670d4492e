"""Fifty steps of the training of 2012 on a small network: what the golden loss curve is made from.

``alexnet-2012-source`` at an eighth of its maps and a sixty-fourth of its dense units, for pictures of
67x67 that are made by NumPy: everything that the program did differently is in it (two towers with
their own response windows, the norm within maps, ReLU behind the pool, dropout without rescaling, the
rate inside the velocity, biases at twice the rate without decay, a drop of the rate, a first layer
that is frozen).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.models import zoo
from alexnet.models.build import AlexNet, begin_step, build
from alexnet.models.rows import Conv, Dense, Row
from alexnet.models.table import Network
from alexnet.recipe import Duration, Group, Optim, Schedule
from alexnet.training import groups, optim, schedule

SIZE, CLASSES, BATCH, STEPS = 67, 4, 16, 50
EPOCH = 10  # steps
UNTIL = Duration(4, "epochs")
RULE = Optim(
    name="2012",
    lr=0.01,
    momentum=0.9,
    weight_decay=0.0005,
    group=(
        Group(match="conv1.weight", until=UNTIL),
        Group(match="conv1.bias", lr_factor=2.0, weight_decay=0.0, until=UNTIL),
        Group(match="*.bias", lr_factor=2.0, weight_decay=0.0),
    ),
)
RATES = Schedule(name="drops", at=(Duration(3, "epochs"),), factor=0.1)


def network() -> Network:
    """Return the small network. He's start: at these widths that of 2012 lets the signal die out."""
    full = zoo.network("alexnet-2012-source", classes=CLASSES)
    rows = (*(_smaller(row) for row in full.rows[:-1]), full.rows[-1])
    return replace(full, rows=rows, init="he")


def _smaller(row: Row) -> Row:
    if isinstance(row, Conv):
        return replace(row, channels=row.channels // 8)
    return replace(row, units=row.units // 64) if isinstance(row, Dense) else row


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Return float64 pictures (16, 3, 67, 67) in -1..1 and labels: waves, one direction a class."""
    draw = np.random.Generator(np.random.PCG64(step))
    labels = np.arange(BATCH) % CLASSES
    angles = labels * np.pi / CLASSES
    y, x = np.mgrid[:SIZE, :SIZE] * 0.6
    phase = draw.uniform(0, 2 * np.pi, (BATCH, 1, 1))
    waves = np.sin(x * np.cos(angles)[:, None, None] + y * np.sin(angles)[:, None, None] + phase)
    noisy = waves[:, None] + draw.normal(0, 0.5, (BATCH, 3, SIZE, SIZE))
    return torch.from_numpy(noisy), torch.from_numpy(labels)


def losses(dtype: torch.dtype = torch.float32) -> list[float]:
    """Return the loss of every step, before its update."""
    model = build(network(), SIZE, seed=0).to(dtype).train()
    rule = optim.make(model, RULE)
    return [_step(model, rule, step, dtype) for step in range(STEPS)]


def _step(model: AlexNet, rule: optim.Optimizer, step: int, dtype: torch.dtype) -> float:
    pictures, labels = batch(step)
    begin_step(model, seed=0, step=step)
    loss = F.cross_entropy(model(pictures.to(dtype)), labels)
    loss.backward()
    factor = schedule.factor(RATES, step, STEPS, steps_per_epoch=EPOCH, batch=BATCH)
    groups.set_rate(rule, factor)
    groups.freeze(rule, step, steps_per_epoch=EPOCH, batch=BATCH)
    rule.step()
    rule.zero_grad()
    return loss.item()
