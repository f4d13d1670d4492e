"""Convolutions of stride 1 by minimal filtering (Winograd): the same sums, fewer multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. Forward and both
gradients, on the CPU, in float32. The results differ from direct sums by rounding: about 1e-5 of their
spread, some times that of the direct ones in float32 and far below TF32's or bf16's. Maps and filters of
bf16 are widened, and what comes of them is rounded once: closer than torch's own, and faster where the
multiplications saved outweigh the faster ones of bf16 units.
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
from alexnet.models.kernels.native import Shape, Unavailable, drawn, ready
from alexnet.models.kernels.worth import TALL_TILES, TILES, Layer, is_narrow

ROWS = 128  # about so many tiles one thread works on at a time: its products stay near it, filters are read seldom
SHARED_ROWS = 256  # and so many all threads together for the gradient of the filters
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}  # of the spread of the results, at most


def use(model: nn.Module) -> None:
    """Have a model's convolutions and response norms computed by kernels where they can be.

    Raises ``Unavailable``.
    """
    check()
    tell(model, "minimal", True)


def leave(model: nn.Module) -> None:
    """Have all of a model computed by torch again."""
    tell(model, "minimal", False)


def in_use(model: nn.Module) -> bool:
    """Say whether a model was told to ``use`` them."""
    return any(getattr(layer, "minimal", False) for layer in model.modules())


def tell(model: nn.Module, flag: str, value: bool) -> None:
    """Set a flag of every layer that has one of that name."""
    for layer in model.modules():
        if hasattr(layer, flag):
            setattr(layer, flag, value)


@cache
def check() -> None:
    """Compare the kernel with torch's convolution, once a process. Raises ``Unavailable``."""
    for side, sizes in TILES.items():
        for m in sizes:
            _check(side, m, torch.float32)
        for m in TALL_TILES[side]:
            _check(side, m, torch.bfloat16)


def _check(side: int, m: int, dtype: torch.dtype) -> None:
    channels = 3 * ready().lanes()  # a whole panel and half of one
    x = drawn(2, channels, m, m).to(dtype)
    weight = (drawn(channels, channels, side, side) / side).to(dtype)
    bias = drawn(channels).to(dtype)
    found = _slide(_laid_out(x), weight, bias, side // 2, 1).float()
    expected = F.conv2d(x.float(), weight.float(), bias.float(), padding=side // 2)
    if not torch.allclose(found, expected, rtol=0, atol=CLOSE[dtype] * float(expected.std())):
        raise Unavailable("the kernel computes something else on this processor")


def convolve_folded(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int
) -> Tensor:
    """Return ``(N, O, H', W')``, channels last, for ``(N, C, H, W)`` and ``(O, C, k, k)``."""
    if is_narrow(x):
        x = x.to(torch.bfloat16)
    folded = folding.fold(x, padding, stride, weight.shape[2])
    return convolve(folded, folding.fold_filters(weight, stride), bias, 0, 1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """Return ``(N, O, H', W')``, channels last, for ``(N, C, H, W)`` and ``(O, C / groups, k, k)``."""
    if is_narrow(x):
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        bias = None if bias is None else bias.to(torch.bfloat16)
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
    m = _tile(side, x, y, groups)
    tiles = math.ceil(y.shape[2] / m) * math.ceil(y.shape[3] / m)
    for part, out, filters, shift in _groups(x, y, weight, bias, groups):
        channels, outputs = filters.shape[2:]
        shape = _shape(part, out, padding)
        u = _floats((m + side - 1) ** 2, channels * outputs + kernel.line())
        kernel.filters(m, side, filters.data_ptr(), channels, outputs, u.data_ptr(), threads)
        given = None if shift is None else shift.data_ptr()
        chunk, working = _rounds(len(part), tiles, threads)
        each = kernel.room(m, side, chunk, ctypes.byref(shape), False)
        room = _floats(working * each)
        kernel.forward(
            *(m, side, chunk, ctypes.byref(shape), part.data_ptr(), u.data_ptr(), given),
            *(out.data_ptr(), room.data_ptr(), working),
        )
    return y


def _rounds(pictures: int, tiles: int, threads: int) -> tuple[int, int]:
    """Return how many pictures a thread takes at a time, so that threads have equally many rounds, and how many work."""
    rounds = max(1, math.ceil(pictures / _near(ROWS, tiles)))
    chunk = max(1, math.ceil(pictures / _up(rounds, threads)))
    return chunk, max(1, min(threads, math.ceil(pictures / chunk)))


def _near(rows: int, tiles: int) -> int:
    """Return how many pictures of ``tiles`` tiles make about so many."""
    return max(1, round(rows / tiles))


def _up(count: int, threads: int) -> int:
    return math.ceil(count / threads) * threads


def _filters_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, padding: int, groups: int
) -> Tensor:
    kernel, threads, side = ready(), torch.get_num_threads(), weight.shape[2]
    m = _tile(side, x, gradient, groups)
    tiles = math.ceil(gradient.shape[2] / m) * math.ceil(gradient.shape[3] / m)
    chunk = max(1, min(len(x), _up(_near(SHARED_ROWS, tiles), threads)))  # as many for each thread
    found = []
    for part, g in zip(x.chunk(groups, 1), gradient.chunk(groups, 1), strict=True):
        shape = _shape(part, g, padding)
        dw = _floats(side, side, part.shape[1], g.shape[1])
        room = _floats(kernel.room(m, side, chunk, ctypes.byref(shape), True))
        kernel.weights(
            *(m, side, chunk, ctypes.byref(shape), part.data_ptr(), g.data_ptr(), dw.data_ptr()),
            *(room.data_ptr(), threads),
        )
        found.append(dw.permute(3, 2, 0, 1))
    whole = found[0] if groups == 1 else torch.cat(found)
    return torch.empty_like(weight).copy_(whole)  # laid out as the weights are


def _tile(side: int, x: Tensor, y: Tensor, groups: int) -> int:
    layer = Layer(side, y.shape[2], y.shape[3], x.shape[1] // groups, y.shape[1] // groups)
    return layer.tile(narrow=x.dtype == torch.bfloat16)


def _groups(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Yield each group's maps in and out, its filters as ``(k, k, C, O)``, and its biases."""
    weight = weight.detach().float()
    biases = [None] * groups if bias is None else bias.detach().float().chunk(groups)
    for part, out, filters, shift in zip(
        x.chunk(groups, 1), y.chunk(groups, 1), weight.chunk(groups), biases, strict=True
    ):
        yield part, out, filters.permute(2, 3, 1, 0).contiguous(), shift


def _shape(x: Tensor, y: Tensor, padding: int) -> Shape:
    n, channels, height, width = x.shape
    narrow = x.dtype == torch.bfloat16
    return Shape(n, height, width, channels, x.stride(3), y.shape[1], y.stride(3), padding, narrow)


def _floats(*size: int) -> Tensor:
    """Return room for floats, whatever type and device this process has for its default."""
    return torch.empty(size, dtype=torch.float32, device="cpu")


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
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
