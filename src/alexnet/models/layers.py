"""The layers that torch has not, or not with the semantics that a published system had."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose running variance has no Bessel correction, as in Keras 3."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; in training, also move the running statistics."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        moved = self.running_var.clone()  # torch keeps what it is given for the backward pass
        y = F.batch_norm(
            x, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps
        )
        n = x.numel() // x.shape[1]
        with torch.no_grad():  # torch added momentum * variance * n / (n - 1)
            kept = self.running_var * (1 - self.momentum)
            self.running_var.copy_((moved - kept) * ((n - 1) / n) + kept)
        return y


class PaperConv2d(nn.Conv2d):
    """A convolution of 2012: in towers, and with a last window that may hang over the edge.

    ``overhang`` is the number of zeros to the right and below that the last window reads; zeros
    stand for the mean picture. On the CPU each tower is a dense convolution of its own: grouped
    bf16 ones are many times slower there than their halves (pytorch issue 183815). The weights are
    those of ``nn.Conv2d``.
    """

    overhang = 0

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``, each group of filters over its own part of the channels."""
        if self.overhang:
            x = F.pad(x, (0, self.overhang, 0, self.overhang))
        if self.groups == 1 or x.device.type != "cpu":
            return super().forward(x)
        assert not isinstance(self.padding, str)
        biases = [None] * self.groups if self.bias is None else self.bias.chunk(self.groups)
        parts = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), biases, strict=True)
        towers = [F.conv2d(part, w, b, self.stride, self.padding) for part, w, b in parts]
        return torch.cat(towers, 1)


class LocalResponseNorm(nn.Module):
    """``x / (k + alpha/size * sum of squares over neighbouring channels) ** beta``, tower by tower."""

    def __init__(self, size: int, alpha: float, beta: float, k: float, towers: int) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.towers = size, alpha, beta, k, towers

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; returns the same shape and dtype."""
        n, c, h, w = x.shape
        # Channels last in memory, so a window of channels is a window along the last axis.
        squares = x.float().square().permute(0, 2, 3, 1)
        squares = squares.reshape(n * h * w, self.towers, c // self.towers)
        before = self.size // 2
        padded = F.pad(squares, (before, self.size - 1 - before))
        mean = F.avg_pool1d(padded, self.size, stride=1).view(n, h, w, c).permute(0, 3, 1, 2)
        return x * (self.k + self.alpha * mean).pow(-self.beta).to(x.dtype)


class MapResponseNorm(nn.Module):
    """``x / (1 + alpha * mean of squares over size x size neighbours of the map) ** beta``."""

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; returns the same shape and dtype. Outside the map is zero."""
        mean = F.avg_pool2d(x.float().square(), self.size, stride=1, padding=self.size // 2)
        return x * (1 + self.alpha * mean).pow(-self.beta).to(x.dtype)
