"""On a GPU: what stands behind a convolution in one pass each way, and norms in one, in Triton.

Triton comes with torch's builds for CUDA. It is imported when it is asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import nn

from alexnet.models import epilogues
from alexnet.models.kernels import Unavailable, tell
from alexnet.models.response_norms import LocalResponseNorm

__all__ = ["Unavailable", "leave", "use"]


def use(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Have a network run fused on ``device`` while it trains, with maps of ``dtype``.

    Raises ``Unavailable``.
    """
    for kind in _kinds(model):
        check(device, dtype, kind)
    from alexnet.models.fused.units import plan

    if hasattr(model, "units"):
        model.units = plan(model)  # type: ignore[arg-type, assignment]
    tell(model, "fused", True)


def leave(model: nn.Module) -> None:
    """Have all of a network computed by torch again."""
    if hasattr(model, "units"):
        model.units = {}  # type: ignore[assignment]
    tell(model, "fused", False)


def _kinds(model: nn.Module) -> Iterator[str]:
    """Yield which kernels a network has a use for, by their name in ``trials.TRIALS``."""
    yield "epilogues"
    layers = list(model.modules())
    if any(isinstance(layer, LocalResponseNorm) for layer in layers):
        yield "response norms"
    if any(isinstance(layer, nn.Conv2d) and _folds(layer) for layer in layers):
        yield "folded convolutions"


def _folds(layer: nn.Conv2d) -> bool:
    return epilogues.folds(layer.in_channels, layer.stride[0], layer.groups)


@cache
def check(device: torch.device, dtype: torch.dtype, kind: str = "epilogues") -> None:
    """Compare with torch's own layers, once a process, ``dtype`` and kind. Raises ``Unavailable``.

    A second or so where the kernels of that kind are compiled for the first time.
    """
    if find_spec("triton") is None:
        raise Unavailable("triton is not installed")
    try:
        from alexnet.models.fused.trials import TRIALS

        right = TRIALS[kind](device, dtype)
    except Exception as error:  # of Triton, a compiler, a linker or a driver: each has its own
        reason = str(error).strip().partition("\n")[0]
        raise Unavailable(f"triton: {reason or type(error).__name__}") from None
    if not right:
        raise Unavailable(f"its kernels for {kind} compute something else on this device")
