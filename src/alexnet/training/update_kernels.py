"""Update rules as Triton kernels: one tensor in one pass, its bf16 working weights written besides.

Flat tensors of ``count`` values in one order: float32 ``weights`` and memory, ``gradients`` of bf16 or
float32, ``rounded`` of bf16 (or float32). All is computed in float32. ``lr`` is a number, or where ``TENSOR`` an
address: a step that is replayed finds each step's rate there. Nothing is asked of the host.
"""

from __future__ import annotations

import triton
import triton.language as tl

# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"


@triton.jit
def _rate(lr, TENSOR: tl.constexpr):
    return tl.load(lr) if TENSOR else lr


@triton.jit
def _short_of_one(x):
    """``1 - exp(x)`` for ``x <= 0``; near 0 by its series, where the difference would lose digits."""
    series = 1.0 + x * 0.0
    for k in tl.static_range(9):
        series = 1.0 + x / (10 - k) * series
    return tl.where(x > -1.0, -x * series, 1.0 - tl.exp(x))


@triton.jit
def sgd(
    weights,
    gradients,
    velocity,
    rounded,
    count,
    lr,
    momentum,
    decay,
    TENSOR: tl.constexpr,
    MOMENTUM: tl.constexpr,
    NESTEROV: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """torch's SGD: the rate outside the velocity, which is not read or written without ``MOMENTUM``."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    w = tl.load(weights + at, mask=there)
    slope = tl.load(gradients + at, mask=there).to(tl.float32) + decay * w
    if MOMENTUM:
        v = momentum * tl.load(velocity + at, mask=there) + slope
        tl.store(velocity + at, v, mask=there)
        if NESTEROV:
            slope += momentum * v
        else:
            slope = v
    w -= _rate(lr, TENSOR) * slope
    tl.store(weights + at, w, mask=there)
    tl.store(rounded + at, w.to(rounded.dtype.element_ty), mask=there)


@triton.jit
def keras_sgd(
    weights,
    gradients,
    velocity,
    rounded,
    count,
    lr,
    momentum,
    decay,
    TENSOR: tl.constexpr,
    NESTEROV: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Keras's SGD and the rule of 2012: the rate inside the velocity."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    w = tl.load(weights + at, mask=there)
    slope = tl.load(gradients + at, mask=there).to(tl.float32) + decay * w
    step = -_rate(lr, TENSOR) * slope
    v = momentum * tl.load(velocity + at, mask=there) + step
    tl.store(velocity + at, v, mask=there)
    if NESTEROV:
        w += momentum * v + step
    else:
        w += v
    tl.store(weights + at, w, mask=there)
    tl.store(rounded + at, w.to(rounded.dtype.element_ty), mask=there)


@triton.jit
def adam(
    weights,
    gradients,
    means,
    squares,
    rounded,
    count,
    lr,
    taken,
    beta1,
    rest1,
    log1,
    beta2,
    rest2,
    log2,
    eps,
    decay,
    TENSOR: tl.constexpr,
    KERAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adam; ``KERAS`` adds epsilon before the corrections, which are in a rate that is a tensor.

    ``taken``: the address of the count of steps, this one included, float32. ``rest`` and ``log``: 1 -
    beta and its logarithm, of which the corrections are made: from float32 betas they would be wrong
    in the fifth digit.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    w = tl.load(weights + at, mask=there)
    slope = tl.load(gradients + at, mask=there).to(tl.float32) + decay * w
    m = beta1 * tl.load(means + at, mask=there) + rest1 * slope
    s = beta2 * tl.load(squares + at, mask=there) + rest2 * slope * slope
    tl.store(means + at, m, mask=there)
    tl.store(squares + at, s, mask=there)
    rate = _rate(lr, TENSOR)
    if KERAS and TENSOR:
        below = tl.sqrt(s) + eps
    else:
        steps = tl.load(taken)
        second = tl.sqrt(_short_of_one(steps * log2))
        rate = rate / _short_of_one(steps * log1)
        below = (tl.sqrt(s) + eps) / second if KERAS else tl.sqrt(s) / second + eps
    w -= rate * m / below
    tl.store(weights + at, w, mask=there)
    tl.store(rounded + at, w.to(rounded.dtype.element_ty), mask=there)
