"""Response normalisation: across channels, as in the paper, and within a map, as its program had besides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from alexnet.models import epilogues, kernels


class LocalResponseNorm(nn.Module):
    """``x / (k + alpha/size * sum of squares over neighbouring channels) ** beta``, tower by tower."""

    minimal = False  # by a kernel of one pass, where it can be: kernels.use
    fused = False  # likewise on a GPU: fused.use

    def __init__(self, size: int, alpha: float, beta: float, k: float, towers: int) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.towers = size, alpha, beta, k, towers

    def extra_repr(self) -> str:
        """Say the constants: alpha as torch has it, divided by size (the paper's is not)."""
        towers = f", towers={self.towers}" if self.towers > 1 else ""
        alpha = f"alpha={self.alpha:g} (divided by size)"
        return f"size={self.size}, {alpha}, beta={self.beta:g}, k={self.k:g}{towers}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; returns the same shape and dtype."""
        if self.minimal and kernels.normalises(x, self.beta, self.towers):
            how = {"size": self.size, "towers": self.towers}
            return kernels.normalise(x, **how, alpha=self.alpha, k=self.k)
        if self.fused and x.numel() <= epilogues.LARGEST:
            return self._fused(x)
        y: Tensor = _ResponseNorm.apply(x, self)  # type: ignore[no-untyped-call]
        return y

    def _fused(self, x: Tensor) -> Tensor:
        from alexnet.models.fused.response_norm import normalise

        how = {"size": self.size, "towers": self.towers}
        return normalise(x, **how, alpha=self.alpha, beta=self.beta, k=self.k)


class _ResponseNorm(torch.autograd.Function):
    """The norm with its gradient written out: a fifth of the time of the recorded one.

    With ``d`` the denominator before its power, ``y = x * d**-beta`` and, for a gradient ``g``,
    ``dx = g * d**-beta - 2 beta alpha/size * x * (sum over the mirrored window of g x d**-beta / d)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: LocalResponseNorm) -> Tensor:
        wide = _wide(x)
        d = _window_sum(wide.square(), norm.size, norm.towers)
        d.mul_(norm.alpha / norm.size).add_(norm.k)
        # Square roots are faster than a power.
        factor = d.rsqrt().mul_(d.rsqrt().sqrt_()) if norm.beta == 0.75 else d.pow(-norm.beta)
        ctx.save_for_backward(x, factor, d)
        ctx.norm = norm
        return (wide * factor).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, factor, d = ctx.saved_tensors
        norm, wide, g = ctx.norm, _wide(x), _wide(gradient)
        inner = (g * wide).mul_(factor).div_(d)
        spread = _window_sum(inner, norm.size, norm.towers, mirrored=True).mul_(wide)
        dx = (g * factor).add_(spread, alpha=-2 * norm.beta * norm.alpha / norm.size)
        return dx.to(x.dtype), None


def _wide(x: Tensor) -> Tensor:
    """Return at least float32: squares of large activations do not fit bf16's precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _window_sum(x: Tensor, size: int, towers: int, *, mirrored: bool = False) -> Tensor:
    """Sum ``(N, C, H, W)`` over ``size`` channels around each, inside its tower.

    The window is ``[i - size//2, i - size//2 + size)``; ``mirrored`` reverses it, which for an even
    size is another one.
    """
    n, c, h, w = x.shape
    width, before = c // towers, size // 2
    after = size - 1 - before
    # Channels last in memory, so a window of channels is a few shifted sums along the last axis.
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, towers, width)
    padded = F.pad(rows, (after, before) if mirrored else (before, after))
    total = padded[..., :width].clone()
    for shift in range(1, size):
        total += padded[..., shift : shift + width]
    return total.view(n, h, w, c).permute(0, 3, 1, 2)


class MapResponseNorm(nn.Module):
    """``x / (1 + alpha * mean of squares over size x size neighbours of the map) ** beta``."""

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def extra_repr(self) -> str:
        """Say the constants: alpha is of the mean of squares over the window."""
        return (
            f"size={self.size}, alpha={self.alpha:g} (divided by size**2), beta={self.beta:g}, k=1"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; returns the same shape and dtype. Outside the map is zero."""
        mean = F.avg_pool2d(x.float().square(), self.size, stride=1, padding=self.size // 2)
        mean = mean[..., : x.shape[2], : x.shape[3]]  # of an even size: the last window is no one's
        return x * (1 + self.alpha * mean).pow(-self.beta).to(x.dtype)
