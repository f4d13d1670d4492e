"""Response normalisation across channels in one pass each way, on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alexnet.models.fused import response_norm_kernels as kernels

TILE = 2048  # values that a program works on: whole rows of channels, so that windows stay near
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
        ctx.save_for_backward(x)
        ctx.how = (size, a, beta, k, towers)
        y = torch.empty_like(x)
        _launch(kernels.forward, (x, y), *ctx.how)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        _launch(kernels.backward, (x, gradient, dx), *ctx.how, warps=WARPS)
        return dx, None, None, None, None, None


def _launch(
    kernel: Any,
    maps: tuple[Tensor, ...],
    size: int,
    a: float,
    beta: float,
    k: float,
    towers: int,
    *,
    warps: int = 4,
) -> None:
    channels = maps[0].shape[1]
    rows, wide = maps[0].numel() // channels, 1 << (channels - 1).bit_length()
    tall = max(1, TILE // wide)
    how = {"SIZE": size, "WIDTH": channels // towers, "BM": tall, "BC": wide}
    kernel[(-(-rows // tall),)](*maps, rows, channels, a, beta, k, **how, num_warps=warps)
