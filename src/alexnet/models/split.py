"""Two towers on two devices, as in 2012: who holds what, and what passes between them. No torch.

Each device holds half of the maps and half of the hidden units. A grouped convolution sees the maps
of its own device; a layer that sees all maps takes the other half over the wire first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from alexnet.errors import UsageError
from alexnet.models import wiring
from alexnet.models.rows import LRN, Conv, Dense, Dropout, Row, Shape
from alexnet.models.table import Network, Traced, trace

# What passes between the devices before a row:
#   share   both halves, forward; backward the gradient that the other device's layer has for ours
#   copy    both halves, forward only: both devices compute the same layer whole
#   border  a few channels each side of the border, forward, and their gradient backward
Exchange = Literal["", "share", "copy", "border"]

# Each channel for itself: the same on half of the channels.
_APART = {"ReLU", "GELU", "MaxPooling2D", "AveragePooling2D", "AdaptiveAveragePooling2D", "MapNorm"}
_APART |= {"Flatten", "BatchNormalization"}


@dataclass(frozen=True)
class Half:
    """One row of one device's half: the row with its own width, and the shape that enters it.

    ``values``: what a device sends to the other for one picture before the row, forward. ``halved``:
    whether its tensors are half of the full network's, along their first axis.
    """

    row: Row
    inputs: Shape
    exchange: Exchange = ""
    values: int = 0
    halved: bool = False

    @property
    def values_back(self) -> int:
        """Return what a device sends for one picture backward."""
        return 0 if self.exchange == "copy" else self.values


def halves(network: Network, size: int | None = None) -> list[Half]:
    """Divide a table with ``groups = 2`` rows; both devices have the same list.

    Raises ``UsageError`` for a network that is not of two towers or a row that cannot be divided.
    """
    groups = {row.groups for row in network.rows if isinstance(row, Conv)}
    if 2 not in groups or groups - {1, 2}:
        raise UsageError(
            f"{network.name} has no two towers (convolutions with groups = 2); train.parallel = "
            "'towers' is for alexnet-2012 and its like, 'data' for every network"
        )
    if read := wiring.held(network.rows):
        raise UsageError(
            f"layer {min(read)!r} of {network.name} is read by a row further down, which two devices "
            "do not exchange; set train.parallel = 'data'"
        )
    found: list[Half] = []
    divided = False  # whether what leaves the last row is half of the channels on each device
    steps = trace(network, size)
    for step, last in zip(steps, _is_last_consumer(steps), strict=True):
        half = _half(network, step, divided=divided, last=last)
        divided = half.halved if isinstance(step.row, Conv | Dense) else _stays(half, divided)
        found.append(half)
    return found


def _stays(half: Half, divided: bool) -> bool:
    return divided and half.exchange in ("", "border")


def _is_last_consumer(steps: list[Traced]) -> list[bool]:
    """Say of each row whether the next dense or convolution row, itself included, is the last."""
    consumers = [i for i, step in enumerate(steps) if isinstance(step.row, Conv | Dense)]
    return [not [j for j in consumers[:-1] if j >= i] for i in range(len(steps))]


def _half(network: Network, step: Traced, *, divided: bool, last: bool) -> Half:
    row, shape = step.row, step.inputs
    mine = _halved(shape)
    whole: tuple[Exchange, int] = (
        ("copy" if last else "share", _count(mine)) if divided else ("", 0)
    )
    if isinstance(row, Conv) and row.groups == 1 and not row.whitening:
        return Half(replace(row, channels=_even(row, row.channels)), shape, *whole, halved=True)
    if isinstance(row, Conv) and divided and not row.whitening:
        own = replace(row, channels=_even(row, row.channels), groups=1)
        return Half(own, mine, halved=True)
    if isinstance(row, Dense) and last:
        return Half(row, shape, *whole)
    if isinstance(row, Dense):
        return Half(replace(row, units=_even(row, row.units)), shape, *whole, halved=True)
    if isinstance(row, Dropout):  # on all units, so that both devices draw one and the same mask
        return Half(row, shape, *whole)
    if isinstance(row, LRN) and divided and row.towers == 1:
        return Half(row, _wider(mine, row), "border", reach(row) * _count(mine[1:]))
    if isinstance(row, LRN) and divided and row.towers == 2:
        return Half(replace(row, towers=1), mine)
    if row.kind in _APART and (divided or not step.parameters):
        return Half(row, mine if divided else shape, halved=divided)
    raise UsageError(
        f"layer {row.name!r} ({row.kind}) of {network.name} cannot be divided over two devices; "
        "set train.parallel = 'data'"
    )


def reach(row: LRN) -> int:
    """Return how many channels beyond the border a window of this row can see."""
    return max(row.size // 2, row.size - 1 - row.size // 2)


def _wider(shape: Shape, row: LRN) -> Shape:
    return (shape[0] + reach(row), *shape[1:])


def _halved(shape: Shape) -> Shape:
    return (shape[0] // 2, *shape[1:])


def _even(row: Row, width: int) -> int:
    if width % 2:
        raise UsageError(f"layer {row.name!r} has {width} outputs, which two towers cannot halve")
    return width // 2


def _count(shape: Shape) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


@dataclass(frozen=True)
class Passing:
    """What passes at one row: bytes that each device sends to the other in one training step."""

    row: str
    kind: Exchange
    forward: int
    backward: int


def passing(
    network: Network, size: int | None = None, *, batch: int, value_bytes: int = 4
) -> list[Passing]:
    """Return what a training step of ``batch`` pictures exchanges, row by row.

    ``value_bytes``: 4 for float32, 2 for bf16. As much comes back from the other device.
    """
    scale = batch * value_bytes
    return [
        Passing(half.row.name, half.exchange, half.values * scale, half.values_back * scale)
        for half in halves(network, size)
        if half.exchange
    ]
