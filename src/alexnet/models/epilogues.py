"""Which rows of a network can run as one: a convolution and what stands behind it. No torch.

``fused`` runs them so on a GPU, and a prediction counts what then passes through memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alexnet.models import wiring
from alexnet.models.rows import GELU, BatchNorm, Conv, MaxPool, ReLU, Row
from alexnet.models.table import Traced

EIGHTHS = 8  # tensor cores want channels by the eight
LARGEST = 2**31 - 1  # an index is of 32 bits
WIDEST = 15  # side of a pool's window, whose taps are kept in a byte


@dataclass(frozen=True)
class Epilogue:
    """Which layers stand behind a convolution, in this order; each may be missing.

    ``relu``: before the norm (or where there is none); ``activation``: ``"relu"`` or ``"gelu"`` behind
    it; ``pool``: side and stride of a window without padding whose overhang is left out.
    """

    relu: bool = False
    norm: bool = False
    activation: str | None = None
    pool: tuple[int, int] = (1, 1)

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what comes out."""
        side, stride = self.pool
        return (height - side) // stride + 1, (width - side) // stride + 1


@dataclass(frozen=True)
class Together:
    """Names of rows that run as one: ``conv`` (None: they begin with the map as it is) and norm of them."""

    rows: tuple[str, ...]
    conv: str | None
    norm: str | None
    what: Epilogue


def together(traced: Sequence[Traced]) -> list[Together]:
    """Return the rows of a traced table that run as one, in order and none twice.

    Of a row that is read again further down, they may only end with it: what they return is kept.
    """
    held = wiring.held([step.row for step in traced])
    found, at = [], 0
    while at < len(traced):
        longest = _longest(traced[at:], held)
        if longest is not None:
            found.append(longest)
        at += 1 if longest is None else len(longest.rows)
    return found


def indexed(traced: Sequence[Traced], batch: int) -> bool:
    """Say whether the maps of rows that run as one, and what enters them, are small enough to index."""
    values = (math.prod(step.outputs) for step in traced)
    return batch * max(math.prod(traced[0].inputs), *values) <= LARGEST


def folds(channels: int, stride: int, groups: int) -> bool:
    """Say whether a convolution of pictures is one of folded ones: ``channels`` enter it."""
    return stride > 1 and groups == 1 and channels < EIGHTHS and channels * stride**2 % EIGHTHS == 0


def _longest(steps: Sequence[Traced], held: frozenset[str]) -> Together | None:
    """Return the most rows from the first on that run as one; None where there are none."""
    conv = steps[0].row.name if isinstance(steps[0].row, Conv) else None
    found = Together((conv,) if conv else (), conv, None, Epilogue())
    for step in steps[bool(conv) :]:
        last = found.rows[-1:]
        longer = None if last and (last[0] in held or step.reads != last) else _with(found, step)
        if longer is None:
            break
        found = longer
    behind = len(found.rows) > bool(conv)
    return found if behind and (conv or not _only_active(found.what)) else None


def _only_active(what: Epilogue) -> bool:
    return not what.norm and what.pool == (1, 1)


def _with(found: Together, step: Traced) -> Together | None:
    """Return the same with one row more, where an epilogue has a place for it."""
    place = PLACES.get(type(step.row))
    if place is None or found.what.pool != (1, 1):
        return None  # nothing comes behind a pool
    what = place(found.what, step)
    if what is None:
        return None
    norm = step.row.name if isinstance(step.row, BatchNorm) else found.norm
    return Together((*found.rows, step.row.name), found.conv, norm, what)


def _with_relu(what: Epilogue, step: Traced) -> Epilogue | None:
    if what.activation or (what.relu and not what.norm):
        return None
    return replace(what, activation="relu") if what.norm else replace(what, relu=True)


def _with_gelu(what: Epilogue, step: Traced) -> Epilogue | None:
    if what.activation or (what.relu and not what.norm):
        return None
    return replace(what, activation="gelu")


def _with_norm(what: Epilogue, step: Traced) -> Epilogue | None:
    if what.norm or what.activation or len(step.inputs) != 3:
        return None
    return replace(what, norm=True)


def _with_pool(what: Epilogue, step: Traced) -> Epilogue | None:
    row = step.row
    assert isinstance(row, MaxPool)
    if row.padding or step.reads == (wiring.PICTURE,) or not 1 < row.kernel <= WIDEST:
        return None
    pooled = replace(what, pool=(row.kernel, row.stride))
    _, height, width = step.inputs
    return pooled if pooled.sides(height, width) == step.outputs[1:] else None


PLACES: dict[type[Row], Callable[[Epilogue, Traced], Epilogue | None]] = {
    ReLU: _with_relu,
    GELU: _with_gelu,
    BatchNorm: _with_norm,
    MaxPool: _with_pool,
}
