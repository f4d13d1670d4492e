"""Bilinear resizing of bytes to bytes, as OpenCV's ``INTER_LINEAR`` does it, to the last level.

OpenCV reckons in whole numbers (imgproc/resize.cpp): weights have 11 bits after the point, the rows
are blended first, and sums lose their low bits on the way. The result is one level away from the exact
value rounded at a ninth of all places (32 x 32 to 128 x 128, noise), elsewhere equal to it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

ONE = 2048  # the weight 1: 11 bits


def resized(pictures: Tensor, size: int) -> Tensor:
    """Return ``(N, H, W, 3)`` levels as uint8 ``(N, size, size, 3)``; floats are rounded first.

    Half-pixel centres, edges repeated, no antialias.
    """
    whole = pictures.round() if pictures.is_floating_point() else pictures
    _, height, width, _ = pictures.shape
    if (height, width) == (size, size):
        return whole.to(torch.uint8)
    x = whole.to(torch.int32)
    first, second, near, far = _taps(width, size, x.device)
    x = (x[:, :, first] * near[:, None] + x[:, :, second] * far[:, None]) >> 4
    first, second, near, far = _taps(height, size, x.device)
    upper, lower = x[:, first] * near[:, None, None], x[:, second] * far[:, None, None]
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).to(torch.uint8)


@cache
def _taps(side: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the two places along a side that each new one is blended of, int64, and their weights, int32.

    Once a device: every copy of numbers to a GPU makes the processor wait. Not to be changed.
    """
    at = ((torch.arange(size, dtype=torch.float64) + 0.5) * (side / size) - 0.5).float()
    first, share = at.floor().long(), at - at.floor()  # ONNX gathers by int64 alone
    weights = ((1 - share) * ONE).round().int(), (share * ONE).round().int()
    first, second = first.clamp(0, side - 1), (first + 1).clamp(0, side - 1)
    near, far = weights
    return first.to(device), second.to(device), near.to(device), far.to(device)
