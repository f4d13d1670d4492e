"""Response norm across channels in one pass each way, on the CPU; maps of bf16 are computed with as float32."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alexnet.models.kernels.native import Window, ready
from alexnet.models.kernels.worth import WIDTHS

BETA = 0.75  # the paper's exponent, for which two square roots do


def normalises(x: Tensor, beta: float, towers: int) -> bool:
    """Say whether the kernel can normalise ``x``, ``(N, C, H, W)``, in so many towers."""
    plain = x.device.type == "cpu" and x.dtype in WIDTHS and beta == BETA
    whole = x.dim() == 4 and x.shape[1] % towers == 0
    return plain and whole and not torch.compiler.is_compiling()


def normalise(x: Tensor, *, size: int, alpha: float, k: float, towers: int) -> Tensor:
    """Return ``x / (k + alpha/size * sum of squares) ** .75``, channels last, tower by tower.

    The window of channel i is ``[i - size//2, i - size//2 + size)``. Paper, section 3.3.
    """
    y: Tensor = _Norm.apply(x, size, alpha / size, k, towers)  # type: ignore[no-untyped-call]
    return y


class _Norm(torch.autograd.Function):
    """Keeps what came in and nothing else; the denominators are computed again on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, scale: float, k: float, towers: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = x.shape
        narrow = x.dtype == torch.bfloat16
        ctx.window = Window(n * height * width, channels, towers, size, scale, k, narrow)
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        at = (x.data_ptr(), y.data_ptr(), torch.get_num_threads())
        ready().norm(ctypes.byref(ctx.window), *at)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        gradient, dx = gradient.contiguous(memory_format=torch.channels_last), torch.empty_like(x)
        at = (x.data_ptr(), gradient.data_ptr(), dx.data_ptr(), torch.get_num_threads())
        ready().norm_back(ctypes.byref(ctx.window), *at)
        return dx, None, None, None, None
