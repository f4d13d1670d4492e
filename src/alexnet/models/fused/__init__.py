"""On a GPU: what stands behind a convolution in one pass each way, and norms in one, in Triton.

Triton comes with torch's builds for CUDA. It is imported when it is asked for, and not before.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import nn
from torch.nn import functional as F

from alexnet.models.kernels import Unavailable, tell

__all__ = ["Unavailable", "leave", "use"]

# Of numbers of about 1: a hundred times float32's rounding, and ten times that of bf16.
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


def use(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Have a network run fused on ``device`` while it trains, with maps of ``dtype``.

    Raises ``Unavailable``.
    """
    check(device, dtype)
    from alexnet.models.fused.units import plan

    if hasattr(model, "units"):
        model.units = plan(model)  # type: ignore[arg-type, assignment]
    tell(model, "fused", True)


def leave(model: nn.Module) -> None:
    """Have all of a network computed by torch again."""
    if hasattr(model, "units"):
        model.units = {}  # type: ignore[assignment]
    tell(model, "fused", False)


@cache
def check(device: torch.device, dtype: torch.dtype) -> None:
    """Compare with torch's own layers, once a process and ``dtype``. Raises ``Unavailable``."""
    if find_spec("triton") is None:
        raise Unavailable("triton is not installed")
    try:
        right = _agrees(device, dtype)
    except Exception as error:  # of Triton, a compiler, a linker or a driver: each has its own
        reason = str(error).strip().partition("\n")[0]
        raise Unavailable(f"triton: {reason or type(error).__name__}") from None
    if not right:
        raise Unavailable("its kernels compute something else on this device")


def _agrees(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether a small map comes out and goes back as by torch's layers in float32."""
    from alexnet.models.epilogues import Epilogue
    from alexnet.models.fused import epilogue

    what = Epilogue(relu=True, norm=True, pool=(3, 2))
    draw = torch.Generator(device).manual_seed(0)
    # In a map no two are equal, nor after rounding to bf16: which one is a window's maximum is sure.
    order = torch.rand(2, 16, 49, generator=draw, device=device).argsort(-1)
    z = (order / 8 - 3).view(2, 16, 7, 7).to(dtype)
    bias, slope = (
        torch.randn(shape, generator=draw, device=device).to(dtype).float()
        for shape in ((16,), (2, 16, 3, 3))
    )
    found = []
    for fused in (True, False):
        x = z.to(dtype if fused else torch.float32, copy=True).requires_grad_()
        norm = nn.BatchNorm2d(16).to(device)
        if fused:
            y = epilogue.apply(x, bias.to(dtype), norm, what)
        else:
            y = F.max_pool2d(norm(F.relu(x + bias.view(-1, 1, 1))), 3, 2)
        y.backward(slope.to(y.dtype))  # type: ignore[no-untyped-call]
        assert x.grad is not None
        found.append((y.detach().float(), x.grad.float()))
    pairs, close = zip(*found, strict=True), CLOSE[dtype]
    return all(torch.allclose(a, b, rtol=close, atol=close) for a, b in pairs)
