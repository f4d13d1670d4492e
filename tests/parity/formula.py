"""Weights, pictures and labels from a formula, so that goldens need not carry them.

Keras (``tools/keras_golden.py``) and the package (``test_keras_network.py``) both call this file,
which needs NumPy only. Everything is drawn from PCG64's raw 64-bit stream, whose values NumPy
promises never to change: ``u = (raw >> 11) * 2**-53`` in [0, 1), then ``low + (high - low) * u`` in
float64, rounded to float32. A float64 reference starts from the same float32 values, widened.

Layout: torch's. Names are those of a ``keras-lab`` state dict; convolutions are
``(out, in, row, column)``, dense layers ``(out, in)``, and the 9,216 inputs of ``fc6`` run in the
order channel, row, column. Tensor ``i`` of ``TENSORS`` is drawn with seed 1000 + i:

- convolution and dense weights: uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot);
- biases, ``norm.bias`` and ``running_mean``: +-0.05; ``norm.weight``: 0.8..1.2;
  ``running_var``: 0.7..1.3.

Batch ``k``: four pictures of 227x227 from 32x32 random blocks (seed 2000 + k), enlarged by
repetition, values 0..1; labels are ``(3 * j + k) % 10`` for picture ``j``.

Goldens keep of each tensor a summary: Euclidean norm, sum / sqrt(size) (which is never larger than
the norm), and the values at the eight flat indices ``size * (2 j + 1) // 16``, in torch's layout.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

PICTURES, CLASSES, SIDE = 4, 10, 227
STEPS = 5  # Adam steps in the goldens; step k uses batch k

_WEIGHTS: dict[str, tuple[int, ...]] = {
    "conv1": (96, 3, 11, 11),
    "norm1": (96,),
    "conv2": (256, 96, 5, 5),
    "norm2": (256,),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 384, 3, 3),
    "conv5": (256, 384, 3, 3),
    "norm5": (256,),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (10, 4096),
}


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, shape in _WEIGHTS.items():
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        if layer.startswith("norm"):
            shapes |= {f"{layer}.running_mean": shape, f"{layer}.running_var": shape}
    return shapes


TENSORS = _shapes()  # name -> shape, in the order of their seeds


class Summary(TypedDict):
    """What a golden keeps of one tensor."""

    norm: float
    scaled_sum: float
    values: list[float]


def draw(seed: int, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    """Draw float32 values, uniform in [low, high)."""
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(11)) * 2.0**-53
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def tensor(name: str) -> NDArray[np.float32]:
    """Draw one tensor of ``TENSORS``."""
    return draw(1000 + list(TENSORS).index(name), TENSORS[name], *_range(name))


def _range(name: str) -> tuple[float, float]:
    layer, kind = name.split(".")
    if kind == "running_var":
        return 0.7, 1.3
    if kind == "weight" and layer.startswith("norm"):
        return 0.8, 1.2
    if kind == "weight":
        limit = glorot_limit(TENSORS[name])
        return -limit, limit
    return -0.05, 0.05


def glorot_limit(shape: tuple[int, ...]) -> float:
    """Return sqrt(6 / (fan_in + fan_out)) of a weight in torch's layout; fans include the area."""
    area = math.prod(shape[2:])
    return math.sqrt(6 / ((shape[0] + shape[1]) * area))


def batch(number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pictures ``(4, 3, 227, 227)`` in 0..1 and labels ``(4,)`` in 0..9."""
    small = draw(2000 + number, (PICTURES, 3, 32, 32), 0.0, 1.0)
    near = np.arange(SIDE) * 32 // SIDE
    labels = (3 * np.arange(PICTURES) + number) % CLASSES
    return small[:, :, near][:, :, :, near], labels.astype(np.int64)


def pixels(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return one picture of noise, uint8 ``(1, height, width, 3)``."""
    values = draw(seed, (1, height, width, 3), 0.0, 256.0)
    return np.minimum(values, 255.0).astype(np.uint8)


def indices(size: int) -> NDArray[np.int64]:
    """Return the eight flat positions whose values a golden keeps."""
    return size * (2 * np.arange(8) + 1) // 16


def summary(values: NDArray[np.floating]) -> Summary:
    """Summarise a tensor in torch's layout; sums are taken in float64."""
    flat = np.ascontiguousarray(values).ravel().astype(np.float64)
    return Summary(
        norm=float(np.sqrt(np.dot(flat, flat))),
        scaled_sum=float(flat.sum() / math.sqrt(flat.size)),
        values=flat[indices(flat.size)].tolist(),
    )
