"""Batch norm over a batch that several processes divide: the numbers of one process, to rounding.

torch's own ``SyncBatchNorm`` needs CUDA, and knows no running variance without Bessel's correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alexnet.models.layers import BiasedBatchNorm2d

Sum = Callable[[Tensor], Tensor]  # of a tensor over all processes


class GlobalBatchNorm(nn.Module):
    """Batch norm of ``(N, C, H, W)`` or ``(N, C)``; N may differ between processes, and be 0.

    It holds the very parameters and buffers of the layer that it replaces, under the same names.
    """

    def __init__(self, layer: _BatchNorm, total: Sum) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.eps, self.momentum, self.total = layer.eps, layer.momentum, total
        self.num_features = layer.num_features
        self.biased = isinstance(layer, BiasedBatchNorm2d)
        self.train(layer.training)

    def extra_repr(self) -> str:
        """Say the constants."""
        how = f"eps={self.eps:g}, momentum={self.momentum:g}, biased_var={self.biased}"
        return f"{self.num_features}, {how}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over all processes' rows; in training, also move the running statistics."""
        mean, variance = self._buffers["running_mean"], self._buffers["running_var"]
        assert mean is not None
        assert variance is not None
        if not self.training:
            return nn.functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        y, batch_mean, batch_variance, count = cast(
            "tuple[Tensor, ...]",
            _Normalise.apply(x, self.weight, self.bias, self),  # type: ignore[no-untyped-call]
        )
        self._move(batch_mean, batch_variance, count)
        return y

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have it normalise over this process's rows, for a while: where every process is given all of them."""
        total, self.total = self.total, lambda sums: sums
        try:
            yield
        finally:
            self.total = total

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.momentum is not None
        if not self.biased:
            variance = variance * (count / (count - 1))
            self.get_buffer("num_batches_tracked").add_(
                1
            )  # as torch's layer counts, and ours for Keras does not
        for name, seen in (("running_mean", mean), ("running_var", variance)):
            kept = self.get_buffer(name)
            kept.mul_(1 - self.momentum).add_(seen, alpha=self.momentum)


class _Normalise(torch.autograd.Function):
    """The norm and its gradient, each with its sums over all processes.

    ``dx = w/s * (g - mean(g) - x' * mean(g x'))`` with ``x'`` the normalised values; the means are
    over the whole batch, the gradients of scale and shift over this process's rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: GlobalBatchNorm
    ) -> tuple[Tensor, ...]:
        wide, over = _wide(x), [0, *range(2, x.ndim)]
        rows = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = norm.total(torch.cat([wide.sum(over), rows]))
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = wide - _along(mean, x)
        variance = norm.total(centred.square().sum(over)) / count
        scale = (variance + norm.eps).rsqrt()
        normal = centred.mul_(_along(scale, x))
        ctx.save_for_backward(normal, weight, scale, count)
        ctx.total, ctx.over, ctx.dtype = norm.total, over, x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        y = normal * _along(weight, x) + _along(bias, x)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, scale, count = ctx.saved_tensors
        g = _wide(gradient)
        own = torch.stack([g.sum(ctx.over), (g * normal).sum(ctx.over)])
        shift, slope = ctx.total(own) / count
        dx = g - _along(shift, g) - normal * _along(slope, g)
        dx = dx.mul_(_along(weight * scale, g)).to(ctx.dtype)
        return dx, own[1] if ctx.needs_input_grad[1] else None, own[0], None


def _wide(x: Tensor) -> Tensor:
    """Return at least float32: a sum over a batch does not fit bf16's precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``(C,)`` so that it multiplies the channels of ``like``."""
    return values.view(1, -1, *[1] * (like.ndim - 2))


def globalise(model: nn.Module, total: Sum) -> None:
    """Replace every batch norm among a model's layers; the names of its tensors stay.

    ``total`` returns the sum of a tensor over all processes, with the same bits on each.
    """
    for name, layer in list(model.named_children()):
        if isinstance(layer, _BatchNorm):
            setattr(model, name, GlobalBatchNorm(layer, total))
