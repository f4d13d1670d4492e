"""A network is a table of rows; everything that can be counted is counted here, without torch.

``trace`` walks a table once: shapes, costs and the receptive field. ``rows`` has the kinds of row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from alexnet.errors import UsageError
from alexnet.models import wiring
from alexnet.models.rows import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MapNorm,
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
    reads: tuple[str, ...]  # the rows whose outputs enter, as ``wiring.sources`` names them
    beside: tuple[Shape, ...]  # of a sum: the shapes that enter besides ``inputs``

    @property
    def passes(self) -> int:
        """Return how often training multiplies by the row's kernel: three times, once by a fixed one."""
        fixed = isinstance(self.row, Conv) and self.row.whitening
        return 3 if self.parameters and not fixed else 1


def trace(network: Network, size: int | None = None) -> list[Traced]:
    """Walk the table for a square picture of side ``size`` (default: the network's own).

    Raises ``TooSmall`` naming the layer at which the picture vanishes, or the sum of two maps that
    are not of one shape, and the sides that fit.
    """
    side = network.size if size is None else size
    steps = list(_walk(network, side))
    if why := _misfit(network, steps[-1]):
        smallest = smallest_size(network)
        raise TooSmall(
            f"a picture of {side}x{side} {why}; the smallest legal picture is {smallest}x{smallest}"
            f"{_and_largest(network, smallest)}"
        )
    return steps


@dataclass(frozen=True)
class _Map:
    """What leaves a row: its shape, its receptive field, and pixels between neighbouring values."""

    shape: Shape
    field: int
    jump: int


def _walk(network: Network, side: int) -> Iterator[Traced]:
    """Trace row after row, up to and including the first that does not fit."""
    maps = {wiring.PICTURE: _Map((3, side, side), 1, 1)}
    for row, names in zip(network.rows, wiring.sources(network.rows), strict=True):
        first, *others = (maps[name] for name in names)
        left = _through(row, (first, *others), side)
        shape, beside = first.shape, tuple(other.shape for other in others)
        costs = row.parameters(shape), row.buffers(shape), row.multiply_adds(shape)
        step = Traced(row, shape, left.shape, *costs, left.field, names, beside)
        yield step
        if _misfit(network, step):
            return
        maps[row.name] = left


def _through(row: Row, maps: Sequence[_Map], side: int) -> _Map:
    shape = maps[0].shape
    field_, jump = max(m.field for m in maps), max(m.jump for m in maps)
    if isinstance(row, Window):
        field_, jump = field_ + (row.kernel - 1) * jump, jump * row.stride
    elif isinstance(row, MapNorm):
        field_ += (row.size - 1) * jump
    elif isinstance(row, AdaptiveAvgPool):
        field_ += (row.widest(shape[1]) - 1) * jump
        jump *= max(1, shape[1] // row.side)  # rounded: its windows are not evenly spaced
    elif isinstance(row, Flatten | Dense):
        field_ = max(field_, side)
    return _Map(row.out(shape), field_, jump)


def _misfit(network: Network, step: Traced) -> str:
    """Say why a picture does not pass a row; empty where it does."""
    row = step.row
    if min(step.outputs) < 1:
        assert isinstance(row, Window)
        return (
            f"vanishes at layer {row.name!r} of {network.name}: its {row.kernel}x{row.kernel} window "
            f"does not fit the {step.inputs[1]}x{step.inputs[2]} map that reaches it"
        )
    if any(shape != step.inputs for shape in step.beside):
        shapes = (step.inputs, *step.beside)
        said = [f"{'x'.join(map(str, s))} ({n})" for n, s in zip(step.reads, shapes, strict=True)]
        return f"does not fit {network.name}: layer {row.name!r} would add {' and '.join(said)}"
    return ""


SIDES = range(1, 2049)  # of pictures, among which legal ones are looked for


def _fits(network: Network, side: int) -> bool:
    return not any(_misfit(network, step) for step in _walk(network, side))


def smallest_size(network: Network) -> int:
    """Return the smallest square side that survives every layer.

    Raises ``ValueError`` for a table that no side fits.
    """
    if _adds(network):
        found = next((side for side in SIDES if _fits(network, side)), None)
    else:  # where one side fits, so does every larger one
        place = bisect_left(SIDES, True, key=lambda side: _fits(network, side))
        found = SIDES[place] if place < len(SIDES) else None
    if found is None:
        raise ValueError(f"{network.name} takes no square picture")
    return found


def _adds(network: Network) -> bool:
    return any(isinstance(row, wiring.Add) for row in network.rows)


def _and_largest(network: Network, smallest: int) -> str:
    """Name the largest side up to which all fit, where there is one; only a sum bounds it."""
    if not _adds(network):
        return ""
    larger = next((s for s in SIDES[smallest:] if not _fits(network, s)), None)
    return f", the largest {larger - 1}x{larger - 1}" if larger else ""


@dataclass(frozen=True)
class Totals:
    """Sums over a table."""

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
        sum(s.multiply_adds * s.passes for s in steps),
    )


def towers_of(row: Row) -> int:
    """Return of how many towers a row is, each of which sees its own share of the maps."""
    return row.groups if isinstance(row, Conv) else getattr(row, "towers", 1)


def last_features(network: Network) -> str:
    """Return the row whose outputs the last dense row takes; dropout does nothing in a test."""
    last = max(i for i, row in enumerate(network.rows) if isinstance(row, Dense))
    return next(row.name for row in network.rows[last - 1 :: -1] if not isinstance(row, Dropout))
