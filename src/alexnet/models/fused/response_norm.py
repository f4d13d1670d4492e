"""Response normalisation across channels in one pass each way, on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alexnet.models.fused import response_norm_kernels as kernels

TILE = 2048  # values that a program works on: whole rows of channels, so that windows stay near
BACK = (
    512  # of the way back: two a thread, so that neighbours read what lies beside, shifted or not
)
WARPS = 8  # of the way back, which keeps more of each value than the registers of four hold


def normalise(x: Tensor, *, size: int, alpha: float, beta: float, k: float, towers: int) -> Tensor:
    """Return ``x / (k + alpha/size * window's sum of squares) ** beta``: ``(N, C, H, W)``, its dtype."""
    y: Tensor = _ResponseNorm.apply(x, size, alpha / size, beta, k, towers)  # type: ignore[no-untyped-call]
    return y


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, size: int, a: float, beta: float, k: float, towers: int
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y, keep = torch.empty_like(x), ctx.needs_input_grad[0]
        base = torch.empty_like(x, dtype=torch.float32) if keep else y
        _launch(kernels.forward, (x, y, base), (a, beta, k), size, towers, KEEP=keep)
        ctx.save_for_backward(x, base)
        ctx.how = ((a, beta), size, towers)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, base = ctx.saved_tensors
        dx = torch.empty_like(x)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        _launch(kernels.backward, (x, base, gradient, dx), *ctx.how, tile=BACK, warps=WARPS)
        return dx, None, None, None, None, None


def _launch(
    kernel: Any,
    maps: tuple[Tensor, ...],
    numbers: tuple[float, ...],
    size: int,
    towers: int,
    *,
    tile: int = TILE,
    warps: int = 4,
    **flags: bool,
) -> None:
    channels = maps[0].shape[1]
    rows, wide = maps[0].numel() // channels, 1 << (channels - 1).bit_length()
    tall = max(1, tile // wide)
    how = {"SIZE": size, "WIDTH": channels // towers, "BM": tall, "BC": wide} | flags
    kernel[(-(-rows // tall),)](*maps, rows, channels, *numbers, **how, num_warps=warps)
