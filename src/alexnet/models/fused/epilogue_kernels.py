"""What stands behind a convolution, as Triton kernels of one pass over its map each.

A map is read as rows of channels ``(N*H*W, C)``, as channels last lays it out. With ``z`` the map:

    u = relu?(z + bias),   v = act?((u - mean) * rstd * gamma + beta),   y = max over a window of v

of which each part but one may be missing. Nothing between ``z`` and ``y`` is ever stored; the way back
computes it again from ``z`` and from which tap of its window each maximum was. Sums are taken in
float32, in an order that depends on the shapes alone: no atomics, so that two runs agree to the bit.

``FIXED`` is ``C`` again where 16 does not divide it, else 0: of an argument Triton knows no more than that, and
would read rows of 24 channels value by value.
"""

from __future__ import annotations

import triton
import triton.language as tl

# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"


@triton.jit
def _rectified(x):
    return tl.where(x <= 0.0, 0.0, x)  # a NaN stays one


@triton.jit
def _active(v, ACT: tl.constexpr):
    if ACT == 1:
        v = _rectified(v)
    if ACT == 2:
        v = 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))
    return v


@triton.jit
def _slope(v, ACT: tl.constexpr):
    """The derivative of ``_active`` at ``v``."""
    if ACT == 1:
        found = tl.where(v <= 0.0, 0.0, 1.0)
    else:
        normal = tl.exp(-0.5 * v * v) * 0.3989422804014327
        found = 0.5 * (1.0 + tl.erf(v * 0.7071067811865476)) + v * normal
    return found


@triton.jit
def _vector(pointer, c, inside, missing, THERE: tl.constexpr):
    """Read one number a channel; ``missing`` where there is no such tensor."""
    if THERE:
        found = tl.load(pointer + c, mask=inside, other=0.0).to(tl.float32)
    else:
        found = tl.zeros_like(c).to(tl.float32) + missing
    return found


@triton.jit
def _before(z, bias, RELU: tl.constexpr):
    u = z.to(tl.float32) + bias
    if RELU:
        u = _rectified(u)
    return u


@triton.jit
def moments(z, bias, partial, M, C, RELU: tl.constexpr, BIAS: tl.constexpr, TURNS, BM: tl.constexpr, BC: tl.constexpr, FIXED: tl.constexpr):  # fmt: skip
    """Sum ``u`` and its square over this program's rows: ``partial`` ``(programs, 2, C)``."""
    C = FIXED if FIXED else C
    p, programs = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    shift = _vector(bias, c, inside, 0.0, BIAS)
    total = tl.zeros([BM, BC], tl.float32)
    square = tl.zeros([BM, BC], tl.float32)
    for turn in range(TURNS):
        m = (turn * programs + p) * BM + tl.arange(0, BM)
        there = (m < M)[:, None] & inside[None, :]
        u = _before(tl.load(z + m[:, None] * C + c[None, :], mask=there, other=0.0), shift[None, :], RELU)  # fmt: skip
        u = tl.where(there, u, 0.0)
        total += u
        square += u * u
    tl.store(partial + (2 * p) * C + c, tl.sum(total, 0), mask=inside)
    tl.store(partial + (2 * p + 1) * C + c, tl.sum(square, 0), mask=inside)


@triton.jit
def _total(partial, c, inside, row, rows, programs, C, TURNS, BP: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    """Sum one of ``rows`` numbers a channel over all programs."""
    found = tl.zeros([BP, BC], tl.float32)
    for turn in range(TURNS):
        p = turn * BP + tl.arange(0, BP)
        there = (p < programs)[:, None] & inside[None, :]
        at = (p[:, None] * rows + row) * C + c[None, :]
        found += tl.load(partial + at, mask=there, other=0.0)
    return tl.sum(found, 0)


@triton.jit
def statistics(
    partial, mean, rstd, running_mean, running_var, programs, M, C, eps, momentum, bessel,
    TURNS, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Make mean and 1/sqrt(variance + eps) of ``moments``, and move the running statistics."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = c < C
    centre = _total(partial, c, inside, 0, 2, programs, C, TURNS, BP, BC) / M
    spread = _total(partial, c, inside, 1, 2, programs, C, TURNS, BP, BC) / M - centre * centre
    spread = tl.maximum(spread, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(mean + c, centre, mask=inside)
    tl.store(rstd + c, 1.0 / tl.sqrt(spread + eps), mask=inside)
    old_mean = tl.load(running_mean + c, mask=inside)
    old_var = tl.load(running_var + c, mask=inside)
    tl.store(running_mean + c, old_mean * (1.0 - momentum) + centre * momentum, mask=inside)
    tl.store(running_var + c, old_var * (1.0 - momentum) + spread * bessel * momentum, mask=inside)


@triton.jit
def totals(partial, out, programs, C, ROWS: tl.constexpr, TURNS, BP: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    """Sum ``partial`` ``(programs, ROWS, C)`` over the programs: ``out`` ``(ROWS, C)``."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = c < C
    row = tl.program_id(1)
    found = _total(partial, c, inside, row, ROWS, programs, C, TURNS, BP, BC)
    tl.store(out + row * C + c, found.to(out.dtype.element_ty), mask=inside)


@triton.jit
def forward(
    z, bias, mean, rstd, gamma, beta, y, taps, peaks, rows, C,
    H: tl.constexpr, W: tl.constexpr, OH: tl.constexpr, OW: tl.constexpr,
    K: tl.constexpr, S: tl.constexpr,
    RELU: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr, ACT: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, FIXED: tl.constexpr,
):  # fmt: skip
    """Write ``y`` ``(rows, C)``; of windows also which tap was the largest, and its normalised value."""
    C = FIXED if FIXED else C
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    there = (m < rows)[:, None] & inside[None, :]
    shift = _vector(bias, c, inside, 0.0, BIAS)
    centre = _vector(mean, c, inside, 0.0, NORM)
    inverse = _vector(rstd, c, inside, 1.0, NORM)
    factor = _vector(gamma, c, inside, 1.0, NORM)
    moved = _vector(beta, c, inside, 0.0, NORM)
    n = m // (OH * OW)
    i = (m // OW) % OH
    j = m % OW
    corner = (n * H + i * S) * W + j * S
    best = tl.full([BM, BC], float("-inf"), tl.float32)
    peak = tl.zeros([BM, BC], tl.float32)
    chosen = tl.zeros([BM, BC], tl.int32)
    for tap in tl.static_range(K * K):
        at = (corner + (tap // K) * W + tap % K)[:, None] * C + c[None, :]
        x = _before(tl.load(z + at, mask=there, other=0.0), shift[None, :], RELU)
        v = x
        if NORM:
            x = (x - centre[None, :]) * inverse[None, :]
            v = x * factor[None, :] + moved[None, :]
        v = _active(v, ACT)
        larger = (v > best) | (v != v)
        best = tl.where(larger, v, best)
        peak = tl.where(larger, x, peak)
        chosen = tl.where(larger, tap, chosen)
    to = m[:, None] * C + c[None, :]
    tl.store(y + to, best.to(y.dtype.element_ty), mask=there)
    if K > 1:
        tl.store(taps + to, chosen.to(tl.uint8), mask=there)
        if NORM:
            tl.store(peaks + to, peak.to(peaks.dtype.element_ty), mask=there)


@triton.jit
def slopes(
    dy, peaks, z, bias, mean, rstd, gamma, beta, partial, rows, C,
    K: tl.constexpr, RELU: tl.constexpr, BIAS: tl.constexpr, ACT: tl.constexpr,
    TURNS, BM: tl.constexpr, BC: tl.constexpr, FIXED: tl.constexpr,
):  # fmt: skip
    """Sum the norm's gradient and its product with the normalised map: ``(programs, 2, C)``.

    Over the rows of ``y``: each passes its gradient to one place of its window, and no other counts.
    """
    C = FIXED if FIXED else C
    p, programs = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    shift = _vector(bias, c, inside, 0.0, BIAS)
    centre = _vector(mean, c, inside, 0.0, True)
    inverse = _vector(rstd, c, inside, 1.0, True)
    factor = _vector(gamma, c, inside, 1.0, True)
    moved = _vector(beta, c, inside, 0.0, True)
    first = tl.zeros([BM, BC], tl.float32)
    second = tl.zeros([BM, BC], tl.float32)
    for turn in range(TURNS):
        m = (turn * programs + p) * BM + tl.arange(0, BM)
        there = (m < rows)[:, None] & inside[None, :]
        at = m[:, None] * C + c[None, :]
        g = tl.load(dy + at, mask=there, other=0.0).to(tl.float32)
        if K > 1:
            x = tl.load(peaks + at, mask=there, other=0.0).to(tl.float32)
        else:
            x = _before(tl.load(z + at, mask=there, other=0.0), shift[None, :], RELU)
            x = (x - centre[None, :]) * inverse[None, :]
        if ACT > 0:
            g = g * _slope(x * factor[None, :] + moved[None, :], ACT)
        g = tl.where(there, g, 0.0)
        first += g
        second += g * x
    tl.store(partial + (2 * p) * C + c, tl.sum(first, 0), mask=inside)
    tl.store(partial + (2 * p + 1) * C + c, tl.sum(second, 0), mask=inside)


@triton.jit
def backward(
    dy, taps, z, bias, mean, rstd, gamma, beta, sums, dz, partial, M, C,
    H: tl.constexpr, W: tl.constexpr, OH: tl.constexpr, OW: tl.constexpr,
    K: tl.constexpr, S: tl.constexpr,
    RELU: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr, ACT: tl.constexpr,
    TURNS, BM: tl.constexpr, BC: tl.constexpr, FIXED: tl.constexpr,
):  # fmt: skip
    """Write ``dz`` ``(M, C)`` and, of a bias, this program's part of its gradient ``(programs, C)``."""
    C = FIXED if FIXED else C
    p, programs = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < C
    shift = _vector(bias, c, inside, 0.0, BIAS)
    centre = _vector(mean, c, inside, 0.0, NORM)
    inverse = _vector(rstd, c, inside, 1.0, NORM)
    factor = _vector(gamma, c, inside, 1.0, NORM)
    moved = _vector(beta, c, inside, 0.0, NORM)
    even = _vector(sums, c, inside, 0.0, NORM) / M
    tilt = _vector(sums + C, c, inside, 0.0, NORM) / M
    total = tl.zeros([BM, BC], tl.float32)
    for turn in range(TURNS):
        m = (turn * programs + p) * BM + tl.arange(0, BM)
        there = (m < M)[:, None] & inside[None, :]
        at = m[:, None] * C + c[None, :]
        u = _before(tl.load(z + at, mask=there, other=0.0), shift[None, :], RELU)
        if K == 1:
            g = tl.load(dy + at, mask=there, other=0.0).to(tl.float32)
        else:
            g = tl.zeros([BM, BC], tl.float32)
            n = m // (H * W)
            h = (m // W) % H
            w = m % W
            for a in tl.static_range((K + S - 1) // S):
                for b in tl.static_range((K + S - 1) // S):
                    i = h // S - a
                    j = w // S - b
                    down = h - i * S
                    right = w - j * S
                    within = (i >= 0) & (i < OH) & (down < K) & (j >= 0) & (j < OW) & (right < K)
                    row = (n * OH + i) * OW + j
                    window = there & within[:, None]
                    of = row[:, None] * C + c[None, :]
                    tap = tl.load(taps + of, mask=window, other=255).to(tl.int32)
                    mine = tap == (down * K + right)[:, None]
                    # All of it, chosen afterwards: a mask that is one along the channels loads wide.
                    slope = tl.load(dy + of, mask=window, other=0.0).to(tl.float32)
                    g += tl.where(mine, slope, 0.0)
        if NORM:
            x = (u - centre[None, :]) * inverse[None, :]
            if ACT > 0:
                g = g * _slope(x * factor[None, :] + moved[None, :], ACT)
            g = (g - even[None, :] - x * tilt[None, :]) * (inverse * factor)[None, :]
        elif ACT > 0:
            g = g * _slope(u, ACT)
        if RELU:
            g = tl.where(u <= 0.0, 0.0, g)
        tl.store(dz + at, g.to(dz.dtype.element_ty), mask=there)
        if BIAS:
            total += tl.where(there, g, 0.0)
    if BIAS:
        tl.store(partial + p * C + c, tl.sum(total, 0), mask=inside)
