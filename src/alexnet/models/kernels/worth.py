"""Which convolutions are computed with fewer multiplications: those where it can be done, and pays.

The multiplications decide, and the transforms of the maps, which count for more the fewer channels there are.
Maps of bf16 are multiplied by torch in bf16, faster than float32 is, so that more has to be saved; but bf16
also bears larger tiles, whose transforms round worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alexnet.models import folding
from alexnet.models.kernels.native import ready

TILES = {
    3: (3, 4, 5),
    5: (4,),
}  # a filter's side: outputs along a tile's side, as winograd.cpp has them
TALL_TILES = {
    3: (7,),
    5: (),
}  # besides, for maps of bf16: 1e-3 of the spread off at most, and bf16 is so anyway
WIDTHS = (torch.float32, torch.bfloat16)  # of maps
# Times less work, at least, transforms counted; from layers of some 20 shapes both ways on two Zen 4 cores, in float32
# and in bf16 (LOG.md, 2026-11-27):
WORTH = 1.2
NARROW_WORTH = 2.2  # and torch leaves the zeros around a map out
TRANSFORMS = 2.5  # a transform's multiply-add takes so many times as long as a product's
MANY = 256  # channels of a 1x1 convolution, with which a product was seen to be faster


def fits(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a convolution of ``x`` ``(N, C, H, W)`` can be, and is worth it."""
    if not _known(layer, x) or layer.stride != (1, 1):
        return False
    parts = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
    side, padding = layer.kernel_size[0], int(layer.padding[0])
    height, width = (extent + 2 * padding - side + 1 for extent in x.shape[2:])
    return padding < side and _pays(x, *parts, side, 1, (height, width), padding)


def is_narrow(x: Tensor) -> bool:
    """Say whether what is computed from ``x`` on the CPU is bf16: it is, or autocast would make it so."""
    return x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")


def _known(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether ``x`` lies on the CPU in a type that the kernels read, and torch would take it too."""
    if x.device.type != "cpu" or x.dtype not in WIDTHS or torch.compiler.is_compiling():
        return False
    if x.dim() != 4 or x.shape[1] != layer.in_channels or min(x.shape[2:]) < 1:
        return False
    sides = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if any(isinstance(each, str) or each[0] != each[1] for each in sides):
        return False
    if layer.dilation[0] > 1 or layer.padding_mode != "zeros":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == layer.weight.dtype


def _pays(
    x: Tensor,
    channels: int,
    filters: int,
    side: int,
    stride: int,
    outputs: tuple[int, int],
    padding: int,
) -> bool:
    parts, narrow = (channels, filters, side, stride, outputs), is_narrow(x)
    return min(outputs) > 0 and times_fewer(*parts, padding=padding, narrow=narrow) > 1


def times_fewer(
    channels: int,
    filters: int,
    side: int,
    stride: int,
    outputs: tuple[int, int],
    lanes: int | None = None,
    *,
    padding: int = 0,
    narrow: bool = False,
) -> float:
    """Return how many times fewer multiplications a convolution takes than its definition; 1: none.

    ``channels`` and ``filters``: of one group; ``outputs``: height and width of its map; ``lanes``: of
    the processor's vectors, by default this one's. ``narrow``: maps are bf16.
    """
    lanes, blocks = lanes or ready().lanes(), folding.blocks(side, stride)
    channels *= stride**2  # a strided filter is folded
    if channels % lanes or filters % lanes or blocks not in TILES:
        return 1.0
    layer = Layer(blocks, *outputs, channels, filters)
    m = layer.tile(narrow=narrow)
    grown = (blocks * stride / side) ** 2  # by zeros, where filters are folded
    asked = layer.inside(padding if stride == 1 else 0) if narrow else layer.direct
    gains = asked / grown / layer.work(m) >= (NARROW_WORTH if narrow else WORTH)
    return layer.direct / grown / layer.products(m) if gains else 1.0


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 1 of one picture, and what it costs in multiply-adds.

    ``side``: of its filters, 3 or 5; ``height`` and ``width``: of what it gives.
    """

    side: int
    height: int
    width: int
    channels: int
    filters: int

    @property
    def direct(self) -> int:
        """By definition."""
        return self.side**2 * self.height * self.width * self.channels * self.filters

    def inside(self, padding: int) -> int:
        """By definition, without so many zeros on each side of a map."""
        beyond = padding * (padding + 1)
        high, wide = (self.side * extent - beyond for extent in (self.height, self.width))
        return high * wide * self.channels * self.filters

    def products(self, m: int) -> int:
        """Of the matrices, by tiles of m x m outputs."""
        return self._tiles(m) * (m + self.side - 1) ** 2 * self.channels * self.filters

    def work(self, m: int) -> float:
        """Of matrices and of transforms of the maps, counted by how long they take."""
        a = m + self.side - 1
        transforms = self.channels * 2 * a**3 + self.filters * (m * a**2 + m**2 * a)
        return self.products(m) + TRANSFORMS * self._tiles(m) * transforms

    def tile(self, *, narrow: bool = False) -> int:
        """Return the tile's side in outputs that takes the least work."""
        return min(TILES[self.side] + (TALL_TILES[self.side] if narrow else ()), key=self.work)

    def _tiles(self, m: int) -> int:
        return math.ceil(self.height / m) * math.ceil(self.width / m)


def folds(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a strided convolution of pictures can be one of stride 1 on folded ones, and is worth it.

    The 11x11 filters with stride 4 of AlexNet's first layer are 3x3 filters over the 48 values of
    4x4 pixels: 3.9 times fewer multiplications than 363 a filter and position.
    """
    stride, side = layer.stride[0], layer.kernel_size[0]
    if not _known(layer, x) or x.requires_grad or layer.groups > 1:
        return False
    if stride == 1 or folding.blocks(side, stride) not in TILES:
        return False
    padding, parts = int(layer.padding[0]), (layer.in_channels, layer.out_channels)
    height, width = ((extent + 2 * padding - side) // stride + 1 for extent in x.shape[2:])
    return _pays(x, *parts, side, stride, (height, width), padding)


def is_product(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a convolution of ``x`` ``(N, C, H, W)`` is a matrix product, which torch is faster at.

    One of 1x1 over many channels: 0.8 of the time of ``F.conv2d``, both ways, at 256; not at 64 (two AVX2 cores).
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or layer.groups > 1:
        return False
    if layer.in_channels < MANY:
        return False
    plain = layer.stride == (1, 1) and layer.padding == (0, 0)
    return plain and layer.kernel_size == (1, 1) and not torch.is_autocast_enabled("cpu")
