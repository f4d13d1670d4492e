"""Convolutions of stride 1 by minimal filtering (Winograd): the same sums, fewer multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. Forward and both
gradients; float32 on the CPU. The results differ from direct sums by rounding: about 1e-5 of their
spread, some times that of the direct ones in float32 and far below TF32's or bf16's.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from alexnet.models import folding
from alexnet.models.kernels.native import Shape, Unavailable, ready

TILES = {
    3: (3, 4, 5),
    5: (4,),
}  # a filter's side: outputs along a tile's side, as winograd.cpp has them
ROWS = 128  # tiles that one thread works on at a time: its products stay near it, filters are read seldom
WORTH = 1.5  # times fewer multiplications, at least; the transforms take some of it back
CLOSE = 1e-3  # of the spread of the results: a hundred times their rounding
MANY = 256  # channels of a 1x1 convolution, with which a product was seen to be faster


def use(model: nn.Module) -> None:
    """Have a model's convolutions and response norms computed by kernels where they can be.

    Raises ``Unavailable``.
    """
    check()
    tell(model, "minimal", True)


def leave(model: nn.Module) -> None:
    """Have all of a model computed by torch again."""
    tell(model, "minimal", False)


def tell(model: nn.Module, flag: str, value: bool) -> None:
    """Set a flag of every layer that has one of that name."""
    for layer in model.modules():
        if hasattr(layer, flag):
            setattr(layer, flag, value)


@cache
def check() -> None:
    """Compare the kernel with torch's convolution, once a process. Raises ``Unavailable``."""
    draw = torch.Generator().manual_seed(0)
    channels = ready().width
    for side, m in ((side, m) for side, sizes in TILES.items() for m in sizes):
        x = torch.randn(2, channels, m, m, generator=draw)
        weight = torch.randn(channels, channels, side, side, generator=draw) / side
        bias = torch.randn(channels, generator=draw)
        found = _slide(_laid_out(x), weight, bias, side // 2, 1)
        expected = F.conv2d(x, weight, bias, padding=side // 2)
        if not torch.allclose(found, expected, rtol=0, atol=CLOSE * float(expected.std())):
            raise Unavailable("the kernel computes something else on this processor")


def fits(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a convolution of ``x`` ``(N, C, H, W)`` can be, and is worth it."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or layer.stride != (1, 1):
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    parts = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
    side, padding = layer.kernel_size[0], int(layer.padding[0])
    if padding > side - 1:
        return False
    height, width = (extent + 2 * padding - side + 1 for extent in x.shape[2:])
    return min(height, width) > 0 and times_fewer(*parts, side, 1, (height, width)) > 1


def times_fewer(
    channels: int,
    filters: int,
    side: int,
    stride: int,
    outputs: tuple[int, int],
    lanes: int | None = None,
) -> float:
    """Return how many times fewer multiplications a convolution takes than its definition; 1: none.

    ``channels`` and ``filters``: of one group; ``outputs``: height and width of its map; ``lanes``: of
    the processor's vectors, by default this one's.
    """
    lanes = lanes or ready().width
    if channels * stride**2 % lanes or filters % lanes:
        return 1.0
    blocks = folding.blocks(side, stride)
    kept = side**2 / (blocks * stride) ** 2  # a strided filter is folded and grows by zeros
    found = kept * gain(blocks, *outputs)
    return found if found >= WORTH else 1.0


def gain(kernel: int, height: int, width: int) -> float:
    """Return how many times fewer multiplications a map of outputs takes; 0 for other filters."""
    if kernel not in TILES:
        return 0.0
    return (
        height * width * kernel**2 / _products(tile(kernel, height, width), kernel, height, width)
    )


def tile(kernel: int, height: int, width: int) -> int:
    """Return the tile's side in outputs that takes the fewest multiplications for a map of outputs."""
    return min(TILES[kernel], key=lambda m: _products(m, kernel, height, width))


def _products(m: int, kernel: int, height: int, width: int) -> int:
    return math.ceil(height / m) * math.ceil(width / m) * (m + kernel - 1) ** 2


def folds(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a strided convolution of pictures can be one of stride 1 on folded ones, and is worth it.

    The 11x11 filters with stride 4 of AlexNet's first layer are 3x3 filters over the 48 values of
    4x4 pixels: 3.9 times fewer multiplications than 363 a filter and position.
    """
    stride, side = layer.stride[0], layer.kernel_size[0]
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.requires_grad or layer.groups > 1:
        return False
    if stride == 1 or folding.blocks(side, stride) not in TILES or torch.is_autocast_enabled("cpu"):
        return False
    padding, parts = int(layer.padding[0]), (layer.in_channels, layer.out_channels)
    height, width = ((extent + 2 * padding - side) // stride + 1 for extent in x.shape[2:])
    return min(height, width) > 0 and times_fewer(*parts, side, stride, (height, width)) > 1


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


def convolve_folded(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int
) -> Tensor:
    """Return ``(N, O, H', W')``, channels last, for ``(N, C, H, W)`` and ``(O, C, k, k)``."""
    folded = folding.fold(x, padding, stride, weight.shape[2])
    return convolve(folded, folding.fold_filters(weight, stride), bias, 0, 1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """Return ``(N, O, H', W')``, channels last, for ``(N, C, H, W)`` and ``(O, C / groups, k, k)``."""
    y: Tensor = _Convolution.apply(x, weight, bias, padding, groups)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int
    ) -> Tensor:
        x = _laid_out(x)
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.groups = padding, groups
        return _slide(x, weight, bias, padding, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient, (of_x, of_weight, of_bias) = _laid_out(gradient), ctx.needs_input_grad[:3]
        padding, groups = ctx.padding, ctx.groups
        dx = dw = db = None
        if of_x:  # the filters turned about, what goes in and what comes out exchanged
            turned = _exchanged(weight, groups).flip(2, 3)
            dx = _slide(gradient, turned, None, weight.shape[2] - 1 - padding, groups)
        if of_weight:
            dw = _filters_gradient(x, gradient, weight, padding, groups)
        if of_bias:
            db = gradient.sum((0, 2, 3))
        return dx, dw, db, None, None


def _exchanged(weight: Tensor, groups: int) -> Tensor:
    """Return ``(C, O / groups, k, k)`` of ``(O, C / groups, k, k)``."""
    return torch.cat([part.transpose(0, 1) for part in weight.chunk(groups)])


def _slide(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    kernel, threads, side = ready(), torch.get_num_threads(), weight.shape[2]
    y = _map(x, weight.shape[0], 2 * padding - side + 1)
    m = tile(side, y.shape[2], y.shape[3])
    for part, out, filters, shift in _groups(x, y, weight, bias, groups):
        channels, outputs = filters.shape[2:]
        shape = _shape(part, out, padding)
        u = filters.new_empty((m + side - 1) ** 2, channels * outputs + kernel.line())
        kernel.filters(m, side, filters.data_ptr(), channels, outputs, u.data_ptr(), threads)
        room = _room(m, side, shape, threads, sums=False)
        given = None if shift is None else shift.data_ptr()
        kernel.forward(
            *(m, side, ROWS, ctypes.byref(shape), part.data_ptr(), u.data_ptr(), given),
            *(out.data_ptr(), room.data_ptr(), threads),
        )
    return y


def _filters_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, padding: int, groups: int
) -> Tensor:
    kernel, threads, side = ready(), torch.get_num_threads(), weight.shape[2]
    m = tile(side, gradient.shape[2], gradient.shape[3])
    found = []
    for part, g in zip(x.chunk(groups, 1), gradient.chunk(groups, 1), strict=True):
        shape = _shape(part, g, padding)
        dw = weight.new_empty((side, side, part.shape[1], g.shape[1]))
        room = _room(m, side, shape, threads, sums=True)
        kernel.weights(
            *(m, side, ROWS, ctypes.byref(shape), part.data_ptr(), g.data_ptr(), dw.data_ptr()),
            *(room.data_ptr(), threads),
        )
        found.append(dw.permute(3, 2, 0, 1))
    whole = found[0] if groups == 1 else torch.cat(found)
    return torch.empty_like(weight).copy_(whole)  # laid out as the weights are


def _groups(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Yield each group's maps in and out, its filters as ``(k, k, C, O)``, and its biases."""
    biases = [None] * groups if bias is None else bias.detach().chunk(groups)
    for part, out, filters, shift in zip(
        x.chunk(groups, 1), y.chunk(groups, 1), weight.detach().chunk(groups), biases, strict=True
    ):
        yield part, out, filters.permute(2, 3, 1, 0).contiguous(), shift


def _shape(x: Tensor, y: Tensor, padding: int) -> Shape:
    n, channels, height, width = x.shape
    return Shape(n, height, width, channels, x.stride(3), y.shape[1], y.stride(3), padding)


def _room(m: int, side: int, shape: Shape, threads: int, *, sums: bool) -> Tensor:
    each = ready().room(m, side, ROWS, ctypes.byref(shape), sums)
    return torch.empty(threads * each, dtype=torch.float32)


def _laid_out(x: Tensor) -> Tensor:
    """Return a tensor whose channels lie side by side, positions a row apart, pictures in sequence."""
    _, channels, height, width = x.shape
    step = x.stride(3)
    if step >= channels and x.stride() == (height * width * step, 1, width * step, step):
        return x
    return _map(x, channels, 0).copy_(x)


def _map(x: Tensor, channels: int, grown: int) -> Tensor:
    """Return an empty ``(N, channels, H + grown, W + grown)``, channels last."""
    n, _, height, width = x.shape
    size = (n, channels, height + grown, width + grown)
    return torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
