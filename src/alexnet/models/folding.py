"""A strided convolution of pictures as one of stride 1 over squares of pixels.

The 11x11 filters with stride 4 of AlexNet's first layer are 3x3 filters over the 48 values of 4x4
pixels: the same sums, a fifth of zeros more, and as many channels as processors like instead of three.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def blocks(side: int, stride: int) -> int:
    """Return the side of a folded filter, in squares."""
    return -(-side // stride)


def fold(x: Tensor, padding: int, stride: int, side: int) -> Tensor:
    """Return ``(N, stride * stride * C, h, w)`` of ``(N, C, H, W)``: squares of pixels as channels.

    Channels last, ``side``: of the filters that will be folded too.
    """
    n, channels = x.shape[:2]
    h, w = (
        (extent + 2 * padding - side) // stride + blocks(side, stride) for extent in x.shape[2:]
    )
    room = x.new_zeros(n, h * stride, w * stride, channels)
    high, wide = (
        min(extent, whole - padding)
        for extent, whole in zip(x.shape[2:], room.shape[1:3], strict=True)
    )
    room[:, padding : padding + high, padding : padding + wide] = x.permute(0, 2, 3, 1)[
        :, :high, :wide
    ]
    squares = room.view(n, h, stride, w, stride, channels).transpose(2, 3)
    return squares.reshape(n, h, w, -1).permute(0, 3, 1, 2)


def fold_filters(weight: Tensor, stride: int) -> Tensor:
    """Return ``(O, stride * stride * C, blocks, blocks)`` of ``(O, C, side, side)``."""
    outputs, channels, side = weight.shape[:3]
    squares = blocks(side, stride)
    grown = squares * stride - side
    filters = F.pad(weight, (0, grown, 0, grown))
    filters = filters.reshape(outputs, channels, squares, stride, squares, stride)
    return filters.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
