"""Pictures as squares of pixels, laid out and rounded in one pass, as a Triton kernel."""

from __future__ import annotations

import triton
import triton.language as tl

# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"


@triton.jit
def fold(
    x, y, squares, of_n, of_c, of_h, of_w, H, W, h, w, PADDING: tl.constexpr,
    CHANNELS: tl.constexpr, STRIDE: tl.constexpr, BS: tl.constexpr, BQ: tl.constexpr,
):  # fmt: skip
    """Write ``y`` ``(squares, STRIDE * STRIDE * CHANNELS)``; ``of_*`` are the strides of ``x``."""
    square = (tl.program_id(0) * BS + tl.arange(0, BS))[:, None]
    q = tl.arange(0, BQ)[None, :]  # row and column in the square, channel
    values = STRIDE * STRIDE * CHANNELS
    n = square // (h * w)
    row = (square // w % h) * STRIDE + q // (STRIDE * CHANNELS) - PADDING
    column = (square % w) * STRIDE + q // CHANNELS % STRIDE - PADDING
    there = (square < squares) & (q < values)
    inside = there & (row >= 0) & (row < H) & (column >= 0) & (column < W)
    at = n * of_n + (q % CHANNELS) * of_c + row * of_h + column * of_w
    found = tl.load(x + at, mask=inside, other=0.0)
    tl.store(y + square * values + q, found.to(y.dtype.element_ty), mask=there)
