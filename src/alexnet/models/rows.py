"""The rows of a table: what each kind of layer does to a shape, and what it costs. No torch.

Each row knows four things about itself, given the shape that enters it: the shape that leaves,
its trainable parameters, its buffers (numbers kept but not trained, such as running means), and
its multiply-adds.

Shapes are ``(channels, height, width)`` for maps and ``(features,)`` after ``Flatten``; pictures
are square in the listings but need not be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Shape = tuple[int, ...]


def windows(side: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    """Count the window positions along one side: ``(side - kernel + 2*padding) / stride + 1``.

    ``ceil`` rounds up, so that the last window may hang over the edge, as the 2012 program does.
    """
    free = side - kernel + 2 * padding
    if free < 0:
        return 0
    return (math.ceil(free / stride) if ceil else free // stride) + 1


@dataclass(frozen=True)
class Row:
    """One layer. ``name`` is unique in its table and names the layer's tensors in a checkpoint.

    ``reads`` is the name of the earlier row whose output enters; empty: the row before.

    A kind that adds no value of its own is no dataclass again: each takes time to make, which every
    listing of a network waits for.
    """

    name: str
    reads: str = field(default="", kw_only=True)

    kind = "Row"  # what a Keras user would call it

    def out(self, shape: Shape) -> Shape:
        """Return the shape that leaves this row when ``shape`` enters it."""
        return shape

    def parameters(self, shape: Shape) -> int:
        """Return the number of trained values."""
        return 0

    def buffers(self, shape: Shape) -> int:
        """Return the number of kept but untrained values."""
        return 0

    def multiply_adds(self, shape: Shape) -> int:
        """Return the multiply-adds of one picture's forward pass through conv and dense rows."""
        return 0


@dataclass(frozen=True)
class Window(Row):
    """Anything that slides: shared by convolution and pooling."""

    kernel: int = field(default=1, kw_only=True)
    stride: int = field(default=1, kw_only=True)
    padding: int = field(default=0, kw_only=True)
    ceil: bool = field(default=False, kw_only=True)

    def channels_out(self, channels: int) -> int:
        """Return how many maps leave when ``channels`` maps enter."""
        return channels

    def out(self, shape: Shape) -> Shape:
        """Return ``(channels_out, height_out, width_out)``."""
        channels, *sides = shape
        return self.channels_out(channels), *(
            windows(s, self.kernel, self.stride, self.padding, self.ceil) for s in sides
        )

    def sum_in_words(self, side: int) -> str:
        """Spell out the arithmetic of one side, e.g. ``(227-11+0)/4+1 = 55``."""
        total = windows(side, self.kernel, self.stride, self.padding, self.ceil)
        quotient = f"({side}-{self.kernel}+{2 * self.padding})/{self.stride}"
        if (side - self.kernel + 2 * self.padding) % self.stride:
            quotient = f"{'ceil' if self.ceil else 'floor'}({quotient})"
        return f"{quotient}+1 = {total}"


@dataclass(frozen=True)
class Conv(Window):
    """Convolution: ``channels`` filters of ``kernel`` x ``kernel``.

    ``groups`` = 2 is the two towers of 2012: each half of the filters sees one half of the maps.
    ``whitening``: the filters are not learned but computed once from the training pictures, so that
    what leaves is decorrelated and of equal variance (``build.whiten``); a bias is learned all the same.
    """

    channels: int = field(kw_only=True)
    groups: int = field(default=1, kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    whitening: bool = field(default=False, kw_only=True)

    kind = "Conv2D"

    def channels_out(self, channels: int) -> int:
        """Return the number of filters."""
        return self.channels

    def _weights(self, shape: Shape) -> int:
        return self.channels * (shape[0] // self.groups) * self.kernel**2

    def parameters(self, shape: Shape) -> int:
        """Return filters x (input maps / groups) x kernel^2, and a bias for each filter."""
        filters = 0 if self.whitening else self._weights(shape)
        return filters + self.channels * self.bias

    def buffers(self, shape: Shape) -> int:
        """Return the filters that are not learned."""
        return self._weights(shape) if self.whitening else 0

    def multiply_adds(self, shape: Shape) -> int:
        """Return weights x output positions."""
        _, height, width = self.out(shape)
        return self._weights(shape) * height * width


@dataclass(frozen=True)
class Local(Window):
    """Locally connected: as a convolution, but every position has filters and biases of its own
    (cuda-convnet's ``type=local``, unshared).
    """

    channels: int = field(kw_only=True)

    kind = "LocallyConnected2D"

    def channels_out(self, channels: int) -> int:
        """Return the number of filters of one position."""
        return self.channels

    def multiply_adds(self, shape: Shape) -> int:
        """Return the number of weights: each is used once in a picture."""
        return math.prod(self.out(shape)) * shape[0] * self.kernel**2

    def parameters(self, shape: Shape) -> int:
        """Return positions x filters x (input maps x kernel^2 weights and a bias)."""
        return self.multiply_adds(shape) + math.prod(self.out(shape))


class MaxPool(Window):
    """Maximum over a window; overlapping where ``stride`` < ``kernel`` (paper, section 3.4)."""

    kind = "MaxPooling2D"


class AvgPool(Window):
    """Mean over a window, of the values that lie inside the map (cuda-convnet's ``pool=avg``)."""

    kind = "AveragePooling2D"


@dataclass(frozen=True)
class AdaptiveAvgPool(Row):
    """Mean over ``side`` x ``side`` windows that cover the map, whatever its size.

    Window ``i`` of a side of n reaches from floor(i n / side) to ceil((i+1) n / side): a map of
    just that size passes unchanged, a smaller one is repeated (torch's ``AdaptiveAvgPool2d``).
    """

    side: int = field(kw_only=True)

    kind = "AdaptiveAveragePooling2D"

    def out(self, shape: Shape) -> Shape:
        """Return ``(channels, side, side)``."""
        return shape[0], self.side, self.side

    def widest(self, side: int) -> int:
        """Return the width of the widest window over a side of that length."""
        ends = range(self.side)
        return max(-(-(i + 1) * side // self.side) - i * side // self.side for i in ends)


@dataclass(frozen=True)
class BatchNorm(Row):
    """Batch normalisation over each channel.

    ``momentum`` is the weight of the new batch (torch's convention; Keras's .99 is .01 here).
    ``unbiased`` says whether the running variance is kept with Bessel's correction: torch does,
    Keras 3 does not. ``scale``: whether the scale is learned; otherwise it stays 1.
    """

    momentum: float = field(default=0.1, kw_only=True)
    eps: float = field(default=1e-5, kw_only=True)
    unbiased: bool = field(default=True, kw_only=True)
    scale: bool = field(default=True, kw_only=True)

    kind = "BatchNormalization"

    def parameters(self, shape: Shape) -> int:
        """Return a shift for each channel, and a scale where it is learned."""
        return (1 + self.scale) * shape[0]

    def buffers(self, shape: Shape) -> int:
        """Return a running mean and variance for each channel, and a scale that is not learned."""
        return (3 - self.scale) * shape[0]


@dataclass(frozen=True)
class LRN(Row):
    """Response normalisation across channels (paper, section 3.3), with torch's constants:
    ``x / (k + alpha/size * sum of squares over size channels) ** beta``.

    The paper's alpha multiplies the plain sum, so it is ``size`` times as large here. ``towers`` = 2
    keeps the window inside each half of the channels, as on two GPUs.
    """

    size: int = field(default=5, kw_only=True)
    alpha: float = field(default=1e-4, kw_only=True)
    beta: float = field(default=0.75, kw_only=True)
    k: float = field(default=1.0, kw_only=True)
    towers: int = field(default=1, kw_only=True)

    kind = "LRN"


@dataclass(frozen=True)
class MapNorm(Row):
    """Response normalisation within each map, over ``size`` x ``size`` neighbours:
    ``x / (1 + alpha * mean of squares) ** beta``. Outside the map is zero.

    The winning program had one behind the second layer that the paper does not mention
    (layers-145.cfg, ``cnorm2``; its scale was divided by the window's area, hence the mean).
    """

    size: int = field(default=5, kw_only=True)
    alpha: float = field(default=1e-3, kw_only=True)
    beta: float = field(default=0.75, kw_only=True)

    kind = "MapNorm"


class ReLU(Row):
    """``max(x, 0)`` (paper, section 3.1)."""

    kind = "ReLU"


class GELU(Row):
    """``x`` times the probability that a standard normal value is below it (Hendrycks & Gimpel 2016)."""

    kind = "GELU"


class Flatten(Row):
    """Maps to one vector, in the order channel, row, column."""

    kind = "Flatten"

    def out(self, shape: Shape) -> Shape:
        """Return ``(channels * height * width,)``."""
        return (math.prod(shape),)


@dataclass(frozen=True)
class Dense(Row):
    """Fully connected layer of ``units`` outputs."""

    units: int = field(kw_only=True)
    bias: bool = field(default=True, kw_only=True)

    kind = "Dense"

    def out(self, shape: Shape) -> Shape:
        """Return ``(units,)``."""
        return (self.units,)

    def parameters(self, shape: Shape) -> int:
        """Return inputs x units, and a bias for each unit."""
        return (shape[0] + self.bias) * self.units

    def multiply_adds(self, shape: Shape) -> int:
        """Return inputs x units."""
        return shape[0] * self.units


@dataclass(frozen=True)
class Dropout(Row):
    """Sets each value to zero with probability ``p`` in training (paper, section 4.2).

    The survivors are divided by ``1-p``, so that a test changes nothing. ``classic``: as in 2012,
    they stay as they are, and a test multiplies every value by ``1-p``.
    """

    p: float = field(default=0.5, kw_only=True)
    classic: bool = field(default=False, kw_only=True)

    kind = "Dropout"
