"""A strided convolution of pictures on a GPU, by pictures folded in one pass (``models.folding``)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.models.folding import blocks, fold_filters
from alexnet.models.fused import folding_kernels as kernels

SQUARES = 32  # that a program lays out at a time


def fold(
    x: Tensor, padding: int, stride: int, side: int, dtype: torch.dtype, overhang: int = 0
) -> Tensor:
    """Return ``(N, stride * stride * C, h, w)`` of ``(N, C, H, W)``, channels last, in ``dtype``.

    ``overhang``: zeros to the right and below, besides ``padding``.
    """
    n, channels, height, width = x.shape
    around = 2 * padding + overhang
    h, w = ((of + around - side) // stride + blocks(side, stride) for of in (height, width))
    values, squares = stride * stride * channels, n * h * w
    size = (n, values, h, w)
    y = torch.empty(size, dtype=dtype, device=x.device, memory_format=torch.channels_last)
    how = {"PADDING": padding, "CHANNELS": channels, "STRIDE": stride, "BS": SQUARES}
    wide = 1 << (values - 1).bit_length()
    kernels.fold[(-(-squares // SQUARES),)](
        x, y, squares, *x.stride(), height, width, h, w, **how, BQ=wide
    )
    return y


def convolve(x: Tensor, weight: Tensor, padding: int, stride: int, overhang: int = 0) -> Tensor:
    """Return ``(N, O, H', W')``, channels last, by torch's own convolution of the folded two."""
    filters = fold_filters(weight, stride).contiguous(memory_format=torch.channels_last)
    squares = fold(x, padding, stride, weight.shape[2], weight.dtype, overhang)
    return F.conv2d(squares, filters)
