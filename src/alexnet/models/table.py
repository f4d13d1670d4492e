"""A network is a table of rows; everything that can be counted is counted here, without torch.

``trace`` walks a table once: shapes, costs and the receptive field. ``rows`` has the kinds of row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from alexnet.errors import UsageError
from alexnet.models.rows import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Row,
    Shape,
    Window,
)


class TooSmall(UsageError):
    """A picture that vanishes inside the network, or a map that does not fit a layer."""


@dataclass(frozen=True)
class Network:
    """A named table with what is known of it.

    ``size`` is the side of the picture it was made for, ``classes`` the width of its last row,
    ``init`` the name of its initialisation (``build.INITIALISATIONS``), ``source`` where it comes
    from.
    """

    name: str
    rows: tuple[Row, ...]
    size: int
    init: str
    summary: str
    source: str

    @property
    def classes(self) -> int:
        """Return the number of outputs of the last dense row."""
        return [row.units for row in self.rows if isinstance(row, Dense)][-1]

    @property
    def whitens(self) -> bool:
        """Say whether a row takes its filters from the training pictures."""
        return any(isinstance(row, Conv) and row.whitening for row in self.rows)

    @property
    def norms_vectors(self) -> bool:
        """Say whether a batch norm stands behind the maps, where a picture is one value a channel."""
        kinds = [type(row) for row in self.rows]
        return BatchNorm in kinds[kinds.index(Flatten) :]

    def with_classes(self, classes: int) -> Network:
        """Return the same table with ``classes`` outputs."""
        *body, last = self.rows
        if not isinstance(last, Dense):
            raise TypeError(f"{self.name}: the last row must be Dense, not {type(last).__name__}")
        return replace(self, rows=(*body, replace(last, units=classes)))

    def changed(self, *, init: str = "", dropout: float | None = None) -> Network:
        """Return the same table with another initialisation or dropout rate, where one is given."""
        rows = tuple(
            replace(row, p=dropout) if isinstance(row, Dropout) and dropout is not None else row
            for row in self.rows
        )
        return replace(self, rows=rows, init=init or self.init)


@dataclass(frozen=True)
class Traced:
    """One row in place: what enters and leaves it, what it costs, and how much picture it sees."""

    row: Row
    inputs: Shape
    outputs: Shape
    parameters: int
    buffers: int
    multiply_adds: int
    receptive_field: int  # pixels of the picture, along one side, that one output value depends on


def trace(network: Network, size: int | None = None) -> list[Traced]:
    """Walk the table for a square picture of side ``size`` (default: the network's own).

    Raises ``TooSmall`` naming the layer at which the picture vanishes and the smallest legal side.
    """
    side = network.size if size is None else size
    steps = list(_walk(network, side))
    for step in steps:
        if min(step.outputs) < 1:
            raise TooSmall(
                f"a picture of {side}x{side} vanishes at layer {step.row.name!r} of {network.name}: "
                f"{_why(step)}; the smallest legal picture is {smallest_size(network)}x"
                f"{smallest_size(network)}"
            )
    return steps


def _walk(network: Network, side: int) -> Iterator[Traced]:
    shape: Shape = (3, side, side)
    field_, jump = 1, 1  # receptive field, and pixels between neighbouring outputs
    for row in network.rows:
        out = row.out(shape)
        if isinstance(row, Window):
            field_, jump = field_ + (row.kernel - 1) * jump, jump * row.stride
        elif isinstance(row, AdaptiveAvgPool):
            field_ += (row.widest(shape[1]) - 1) * jump
            jump *= max(1, shape[1] // row.side)  # rounded: its windows are not evenly spaced
        elif isinstance(row, Flatten | Dense):
            field_ = max(field_, side)
        costs = row.parameters(shape), row.buffers(shape), row.multiply_adds(shape)
        yield Traced(row, shape, out, *costs, field_)
        if min(out) < 1:
            return
        shape = out


def _why(step: Traced) -> str:
    row = step.row
    assert isinstance(row, Window)
    return (
        f"its {row.kernel}x{row.kernel} window does not fit the {step.inputs[1]}x{step.inputs[2]} "
        "map that reaches it"
    )


def smallest_size(network: Network) -> int:
    """Return the smallest square side that survives every layer."""
    side = 1
    while min(min(step.outputs) for step in _walk(network, side)) < 1:
        side += 1
    return side


@dataclass(frozen=True)
class Totals:
    """Sums over a table; ``megabytes`` counts float32 in units of 2**20 bytes, as Keras does."""

    trainable: int
    buffers: int
    multiply_adds: int  # of a forward pass
    training_multiply_adds: int  # forward and backward: three passes, one where nothing is learned

    @property
    def parameters(self) -> int:
        """Return trainable and untrained values together (Keras's "Total params")."""
        return self.trainable + self.buffers


def totals(steps: list[Traced]) -> Totals:
    """Add up a traced table."""
    return Totals(
        sum(s.parameters for s in steps),
        sum(s.buffers for s in steps),
        sum(s.multiply_adds for s in steps),
        sum(s.multiply_adds * (3 if s.parameters else 1) for s in steps),
    )
