"""Small maps by the kernels and by torch's layers in float32: whether a device computes the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.models.epilogues import Epilogue
from alexnet.models.fused import epilogue, folding, response_norm
from alexnet.models.response_norms import LocalResponseNorm

# Of numbers of about 1: a hundred times float32's rounding, and ten times that of bf16.
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


def epilogues_agree(device: torch.device, dtype: torch.dtype) -> bool:
    """Try bias, ReLU, batch norm and pool, each way."""
    what = Epilogue(relu=True, norm=True, pool=(3, 2))
    draw = torch.Generator(device).manual_seed(0)
    # In a map no two are equal, nor after rounding to bf16: which one is a window's maximum is sure.
    order = torch.rand(2, 16, 49, generator=draw, device=device).argsort(-1)
    z = (order / 8 - 3).view(2, 16, 7, 7).to(dtype)
    bias, slope = (
        torch.randn(shape, generator=draw, device=device).to(dtype)
        for shape in ((16,), (2, 16, 3, 3))
    )

    def ours(x: Tensor) -> Tensor:
        return epilogue.apply(x, bias, nn.BatchNorm2d(16).to(device), what)

    def torchs(x: Tensor) -> Tensor:
        y: Tensor = nn.BatchNorm2d(16).to(device)(F.relu(x + bias.float().view(-1, 1, 1)))
        return F.max_pool2d(y, 3, 2)

    return _agree(ours, torchs, z, slope)


def response_norms_agree(device: torch.device, dtype: torch.dtype) -> bool:
    """Try a norm across the channels of two towers, each way."""
    norm, draw = LocalResponseNorm(5, 1.0, 0.75, 2.0, 2), torch.Generator(device).manual_seed(0)
    x, slope = (torch.randn(2, 24, 3, 3, generator=draw, device=device).to(dtype) for _ in "xs")

    def ours(x: Tensor) -> Tensor:
        return response_norm.normalise(x, size=5, alpha=1.0, beta=0.75, k=2.0, towers=2)

    return _agree(ours, norm, x, slope)


def folded_agree(device: torch.device, dtype: torch.dtype) -> bool:
    """Try a strided convolution of pictures whose last windows overhang; its way back is torch's own."""
    draw = torch.Generator(device).manual_seed(0)
    x, weight = (  # few bits: exact in bf16, and so are products where torch is told to use tf32
        torch.randint(-8, 9, shape, generator=draw, device=device).to(dtype) / 8
        for shape in ((2, 3, 14, 14), (8, 3, 5, 5))
    )
    found = folding.convolve(x, weight, 1, 4, overhang=3)
    expected = F.conv2d(F.pad(x.float(), (0, 3, 0, 3)), weight.float(), stride=4, padding=1)
    return _close(found, expected, dtype)


def _agree(
    ours: Callable[[Tensor], Tensor], torchs: Callable[[Tensor], Tensor], x: Tensor, slope: Tensor
) -> bool:
    """Say whether ``x`` comes out the same, in its dtype by ours and in float32 by torch's, and ``slope`` goes back."""
    found = []
    for function, of in ((ours, x), (torchs, x.float())):
        leaf = of.clone().requires_grad_()
        y = function(leaf)
        y.backward(slope.to(y.dtype))  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        found.append((y.detach(), leaf.grad))
    return all(_close(a, b, x.dtype) for a, b in zip(*found, strict=True))


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    return torch.allclose(found.float(), expected, rtol=CLOSE[dtype], atol=CLOSE[dtype])


TRIALS: dict[str, Callable[[torch.device, torch.dtype], bool]] = {
    "epilogues": epilogues_agree,
    "response norms": response_norms_agree,
    "folded convolutions": folded_agree,
}
