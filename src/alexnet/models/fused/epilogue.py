"""Bias, ReLU, batch norm, activation and pool behind a convolution, each way in one pass over its map.

In training only. Plainly, a map of bf16 is read or written some twenty times by these layers forward
and backward; here twice forward and twice backward, where a norm needs its sums first, else once.
Figures are those of torch's layers to rounding: what lies between is kept in float32, not in bf16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet.models.epilogues import Epilogue
from alexnet.models.fused import epilogue_kernels as kernels

ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2}
TILE = 2048  # values that a program works on at a time: sixteen a thread
PROGRAMS = 1056  # for which sums are kept apart: eight for each multiprocessor of a large GPU
PARTS = 128  # of those sums read at a time
KNOWN = 16  # Triton knows of an argument whether this divides it
FEW = 16  # channels whose sums a program adds up: few, so that many programs do


def apply(z: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d | None, what: Epilogue) -> Tensor:
    """Return ``(N, C, H', W')``, channels last, of a map ``(N, C, H, W)``; moves running statistics.

    ``bias``: ``(C,)``, added first; ``norm``: the layer in training mode. Of ``z``'s dtype.
    """
    if norm is None:
        return _Epilogue.apply(z, bias, None, None, None, what)  # type: ignore[no-any-return, no-untyped-call]
    if norm.num_batches_tracked is not None and not _biased(norm):
        norm.num_batches_tracked.add_(1)
    return _Epilogue.apply(z, bias, norm.weight, norm.bias, norm, what)  # type: ignore[no-any-return, no-untyped-call]


class _Epilogue(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        norm: nn.BatchNorm2d | None,
        what: Epilogue,
    ) -> Tensor:
        z = z.contiguous(memory_format=torch.channels_last)
        mean, rstd = (None, None) if norm is None else _statistics(z, bias, norm, what)
        known = (bias, mean, rstd, gamma, beta)
        y, taps, peaks = _forward(z, known, what)
        ctx.save_for_backward(z, taps, peaks, *known)
        ctx.what = what
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, taps, peaks, *known = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        bias = known[0]
        sums = _slopes(gradient, peaks, z, tuple(known), ctx.what) if ctx.what.norm else None
        dz, of_bias = _backward(gradient, taps, z, tuple(known), sums, ctx.what)
        of_norm = (None, None) if sums is None else (sums[1], sums[0])
        return dz, of_bias if bias is not None else None, *of_norm, None, None


Known = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def _statistics(
    z: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d, what: Epilogue
) -> tuple[Tensor, Tensor]:
    """Return mean and inverse deviation of each channel, float32; move the running ones."""
    n, channels, height, width = z.shape
    rows = n * height * width
    grid = _grid(rows, channels)
    partial = z.new_empty((grid[0], 2, channels), dtype=torch.float32)
    flags: dict[str, Any] = {"RELU": what.relu, "BIAS": bias is not None}
    kernels.moments[grid](
        z, _or(bias, z), partial, rows, channels, **flags, **_share(rows, channels)
    )
    mean, rstd = (z.new_empty(channels, dtype=torch.float32) for _ in "mr")
    bessel = 1.0 if _biased(norm) or rows == 1 else rows / (rows - 1)
    kernels.statistics[(-(-channels // FEW),)](
        *(partial, mean, rstd, norm.running_mean, norm.running_var),
        *(grid[0], rows, channels, norm.eps, norm.momentum, bessel),
        TURNS=-(-grid[0] // PARTS),
        BP=PARTS,
        BC=FEW,
    )
    return mean, rstd


def _biased(norm: nn.BatchNorm2d) -> bool:
    """Say whether a norm is Keras's, which neither corrects its variance nor counts its batches."""
    return bool(getattr(norm, "biased", False))


def _forward(
    z: Tensor, known: Known, what: Epilogue
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return what comes out and, of a pool, the tap of each maximum and its normalised value."""
    n, channels, height, width = z.shape
    size = (n, channels, *what.sides(height, width))
    y = torch.empty(size, dtype=z.dtype, device=z.device, memory_format=torch.channels_last)
    taps = torch.empty_like(y, dtype=torch.uint8) if what.pool[0] > 1 else None
    peaks = torch.empty_like(y) if taps is not None and what.norm else None
    rows, tile = y.numel() // channels, _tile(channels)
    grid = (-(-rows // tile["BM"]), -(-channels // tile["BC"]))
    tensors = (z, *(_or(tensor, z) for tensor in known), y, _or(taps, y), _or(peaks, y))
    kernels.forward[grid](
        *tensors, rows, channels, **_window(z, what), **_flags(known, what), NORM=what.norm, **tile
    )
    return y, taps, peaks


def _slopes(
    gradient: Tensor, peaks: Tensor | None, z: Tensor, known: Known, what: Epilogue
) -> Tensor:
    """Return the gradients of the norm's shift and scale, float32 ``(2, C)``."""
    channels = z.shape[1]
    rows = gradient.numel() // channels
    grid = _grid(rows, channels)
    partial = z.new_empty((grid[0], 2, channels), dtype=torch.float32)
    tensors = (gradient, _or(peaks, z), z, *(_or(tensor, z) for tensor in known), partial)
    kernels.slopes[grid](
        *tensors,
        rows,
        channels,
        K=what.pool[0],
        **_flags(known, what),
        **_share(rows, channels),
    )
    return _totals(partial, torch.float32)


def _backward(
    gradient: Tensor,
    taps: Tensor | None,
    z: Tensor,
    known: Known,
    sums: Tensor | None,
    what: Epilogue,
) -> tuple[Tensor, Tensor | None]:
    channels, bias = z.shape[1], known[0]
    rows, dz = z.numel() // channels, torch.empty_like(z)
    grid = _grid(rows, channels)
    partial = None
    if bias is not None:
        partial = z.new_empty((grid[0], 1, channels), dtype=torch.float32)
    tensors = (gradient, _or(taps, z), z, *(_or(tensor, z) for tensor in known))
    kernels.backward[grid](
        *(*tensors, _or(sums, z), dz, _or(partial, z), rows, channels),
        **_window(z, what),
        **_flags(known, what),
        NORM=what.norm,
        **_share(rows, channels),
    )
    if partial is None or bias is None:
        return dz, None
    return dz, _totals(partial, bias.dtype)[0]


def _totals(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum ``(programs, rows, C)`` over the programs."""
    programs, rows, channels = partial.shape
    out = partial.new_empty((rows, channels), dtype=dtype)
    how = {"ROWS": rows, "TURNS": -(-programs // PARTS), "BP": PARTS, "BC": FEW}
    kernels.totals[(-(-channels // FEW), rows)](partial, out, programs, channels, **how)
    return out


def _flags(known: Known, what: Epilogue) -> dict[str, Any]:
    return {"RELU": what.relu, "BIAS": known[0] is not None, "ACT": ACTIVATIONS[what.activation]}


def _window(z: Tensor, what: Epilogue) -> dict[str, int]:
    height, width = z.shape[2:]
    out = what.sides(height, width)
    side, stride = what.pool
    return {"H": height, "W": width, "OH": out[0], "OW": out[1], "K": side, "S": stride}


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return a tensor, or in its place another that the kernel will not read."""
    return other if tensor is None else tensor


def _wide(channels: int) -> int:
    """Return how many channels a program works on: a power of two that divides them, if one does."""
    fitting = [wide for wide in (64, 32, 16) if channels % wide == 0]
    return fitting[0] if fitting else 32


def _share(rows: int, channels: int) -> dict[str, int]:
    """Return what a program of ``_grid`` works on: tiles of this size, and how many of them."""
    tile = _tile(channels)
    return tile | {"TURNS": -(-rows // (tile["BM"] * _grid(rows, channels)[0]))}


def _tile(channels: int) -> dict[str, int]:
    wide = _wide(channels)
    fixed = channels if channels % KNOWN else 0
    return {"BM": TILE // wide, "BC": wide, "FIXED": fixed}


def _grid(rows: int, channels: int) -> tuple[int, int]:
    """Return how many programs share the rows, and how many the channels."""
    tile = _tile(channels)
    columns = -(-channels // tile["BC"])
    return max(1, min(-(-rows // tile["BM"]), PROGRAMS // columns)), columns
