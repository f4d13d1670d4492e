"""What a step asks of a GPU where rows run as one (``models.fused``) and weights move in one pass.

Counted as the kernels read and write. What several windows share of a map, and the sums that
programs leave each other, stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from alexnet.benchmark.costs import CASTS, NORM_ONE_PASS, UPDATES, Cost, cost
from alexnet.models import epilogues, rows, wiring
from alexnet.models.epilogues import Epilogue, Together
from alexnet.models.folding import blocks
from alexnet.models.table import Traced, totals
from alexnet.training.fused_update import LARGE

PICTURE = 4  # bytes of a picture's value, whatever the network computes with
BASE = 8  # bytes of a value's denominator: out forward, in on the way back, in float32
MOVED = {  # bytes of a weight: master and memory in and out, a bf16 gradient in, a bf16 weight out
    "sgd": 20,
    "keras-sgd": 20,
    "2012": 20,
    "adam": 28,
    "keras-adam": 28,
}


def costs(traced: Sequence[Traced], batch: int, width: int) -> list[Cost]:
    """Count ``batch`` pictures' operations and bytes, for values of ``width`` bytes, without the update."""
    starts = {of.rows[0]: of for of in epilogues.together(traced)}
    found, at = [], 0
    while at < len(traced):
        of = starts.get(traced[at].row.name)
        steps = traced[at : at + (len(of.rows) if of else 1)]
        if of and epilogues.indexed(steps, batch):
            found += _together(of, steps, batch, width)
        else:
            found += [_alone(step, batch, width) for step in steps]
        at += len(steps)
    return found


def update(traced: Sequence[Traced], optimizer: str) -> float:
    """Count the bytes of moving bf16 weights beside masters: layers of ``LARGE`` weights in one pass.

    A layer's few biases are counted with its kernel. ``optimizer``: one of ``MOVED``.
    """
    every = totals(list(traced)).trainable
    large = sum(step.parameters for step in traced if step.parameters >= LARGE)
    return float(MOVED[optimizer] * large + (UPDATES[optimizer] + CASTS) * (every - large))


def _alone(step: Traced, batch: int, width: int) -> Cost:
    found = cost(step, batch, width)
    if not isinstance(step.row, rows.LRN):
        return found
    return replace(found, bytes=batch * (width * NORM_ONE_PASS + BASE) * math.prod(step.outputs))


def _together(of: Together, steps: Sequence[Traced], batch: int, width: int) -> list[Cost]:
    """Count a convolution as alone, its pictures' folding, and what stands behind it as one."""
    first = [cost(steps[0], batch, width), *_folding(steps[0], batch, width)] if of.conv else []
    behind = steps[1:] if of.conv else steps
    z, y = math.prod(behind[0].inputs), math.prod(behind[-1].outputs)
    name = " ".join(step.row.name for step in behind)
    return [*first, Cost(name, "epilogue", 0.0, batch * _passed(of.what, z, y, width))]


def _passed(what: Epilogue, z: int, y: int, width: int) -> float:
    """Return the bytes of a picture's ``z`` values behind a convolution and ``y`` behind the pool."""
    pooled = what.pool != (1, 1)
    peaks = what.norm and pooled  # of which the norm's gradients are made, in place of z
    # Forward the sums of a norm and all else; backward its gradients' sums, and z read, dz written.
    of_z = what.norm + 1 + (what.norm and not pooled) + 2
    # Forward y, and a peak; backward the gradient for the sums, with its peak, and for all else.
    of_y = 1 + peaks + (what.norm + peaks) + 1
    taps = 2 * pooled  # a byte each way
    return float(width * (of_z * z + of_y * y) + taps * y)


def _folding(step: Traced, batch: int, width: int) -> list[Cost]:
    """Count float32 pictures in and squares of pixels out, where they are folded."""
    row, (channels, *sides) = step.row, step.inputs
    assert isinstance(row, rows.Conv)
    pictures = step.reads == (wiring.PICTURE,)
    if not pictures or not epilogues.folds(channels, row.stride, row.groups):
        return []
    more = blocks(row.kernel, row.stride) - 1  # squares a side than windows
    squares = math.prod(side + more for side in step.outputs[1:])
    folded = squares * row.stride**2 * channels
    moved = PICTURE * channels * math.prod(sides) + width * folded
    return [Cost(f"{row.name} folded", "folding", 0.0, float(batch * moved))]
