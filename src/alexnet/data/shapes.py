"""``shapes``: ten kinds of coloured figures drawn from a seed; no file, no network.

Only raw 64-bit draws and the operations that IEEE 754 rounds exactly (+ - * / and square root) are
used, and the sines come from a table rounded to 16 bits: the same bytes on every machine.
Where each pixel lies inside its figure is a signed distance, after the formulas that Inigo Quilez
published ("2D distance functions", iquilezles.org), hence the soft edges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.cache import Contents, Pictures
from alexnet.errors import UsageError

SIZE = 32
SMALLEST = 16
COUNTS = {"train": 2_000, "test": 500}

_CHUNK_BYTES = 4_000_000
Field = Any  # float64 (n, S, S), a value per pixel; numpy types what its functions return so


def fetch(folder: Path, source: str | None, size: int, say: Callable[[str], None]) -> Contents:
    """Draw the training and the test part, ``size`` pixels a side. Raises UsageError below 16."""
    if source is not None:
        raise UsageError(f"shapes are drawn, not read: there is no source {source!r}; leave it out")
    if size < SMALLEST:
        raise UsageError(f"shapes of {size} pixels cannot be told apart; the least is {SMALLEST}")
    parts = {part: draw(count, size=size, seed=i) for i, (part, count) in enumerate(COUNTS.items())}
    return Contents(parts, tuple(FIGURES), {}, "drawn by this program from a fixed seed")


def draw(count: int, *, size: int = SIZE, seed: int = 0) -> Pictures:
    """Draw ``count`` pictures, ``size`` pixels a side, the kinds in equal numbers, shuffled.

    The same seed at another size gives the same figures, finer or coarser.
    """
    bits = np.random.PCG64(seed)
    labels = (np.argsort(bits.random_raw(count), kind="stable") % len(FIGURES)).astype(np.int64)
    dice = _uniform(bits, (count, 24))
    images = np.empty((count, size, size, 3), np.uint8)
    chunk = max(8, _CHUNK_BYTES // (size * size * 24) // 8 * 8)
    for start in range(0, count, chunk):
        some = slice(start, min(start + chunk, count))
        grain = _grain(bits, (some.stop - some.start, size, size, 3))
        images[some] = _paint(labels[some], dice[some].T[:, :, None, None], grain, size)
    return Pictures(images, labels)


def _paint(labels: np.ndarray, dice: np.ndarray, grain: np.ndarray, size: int) -> np.ndarray:
    """(n,) kinds and (24, n, 1, 1) uniform numbers to (n, size, size, 3) uint8 pictures."""
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], -axis[None, :, None]
    dark = dice[0] < 0.5
    ground = _blend(
        _colour(dice[1], 0.2 + 0.6 * dice[2], np.where(dark, 0.15, 0.62) + 0.23 * dice[3]),
        _colour(dice[4], 0.2 + 0.6 * dice[5], np.where(dark, 0.15, 0.62) + 0.23 * dice[6]),
        np.clip(0.5 + (x * (2 * dice[7] - 1) + y * (2 * dice[8] - 1)) / 2, 0, 1),
    )
    ink = _colour(dice[9], 0.35 + 0.6 * dice[10], np.where(dark, 0.64, 0.1) + 0.32 * dice[11])
    u, v, scale = _own_axes(x, y, dice)
    distance = np.empty(u.shape)
    for kind, figure in enumerate(FIGURES.values()):
        of_kind = labels == kind
        distance[of_kind] = figure(u[of_kind], v[of_kind])
    pixel = 2 / size
    shaded = ink * (1 + 0.18 * np.clip(v, -1, 1))[..., None]
    speck = _speck(x, y, dice, pixel)[..., None]
    picture = _blend(ground, _colour(dice[18], 0.7 + 0 * dice[18], 0.3 + 0.5 * dice[19]), speck)
    picture = _blend(picture, shaded, np.clip(0.5 - distance * scale / pixel, 0, 1)[..., None])
    picture = 255 * picture + grain * (3 + 8 * dice[20][..., None])
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def _own_axes(x: Field, y: Field, dice: np.ndarray) -> tuple[Field, Field, Field]:
    """The pixel in the figure's own axes: moved, turned, stretched; and the figure's radius."""
    scale = 0.5 + 0.32 * dice[12]
    x = x - (2 * dice[13] - 1) * (0.95 - scale)
    y = y - (2 * dice[14] - 1) * (0.95 - scale)
    turn = ((2 * dice[15] - 1) * _TURN * len(_COSINE)).astype(np.int64)
    cosine, sine = _COSINE[turn], _COSINE[turn - len(_COSINE) // 4]
    return (cosine * x + sine * y) / scale, (cosine * y - sine * x) / scale, scale


def _speck(x: Field, y: Field, dice: np.ndarray, pixel: float) -> Field:
    """A small dot somewhere behind the figure, so that a lone patch of colour proves nothing."""
    away = _length(x - 1.8 * (dice[16] - 0.5), y - 1.8 * (dice[17] - 0.5))
    return np.clip(0.5 - (away - 0.08 - 0.1 * dice[21]) / pixel, 0, 1)


def _colour(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Hue, saturation, value in 0..1, any shape, to RGB in 0..1 on a last axis of three."""
    wheel = np.abs((hue[..., None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    colour = 1 + saturation[..., None] * (np.clip(wheel, 0, 1) - 1)
    return np.asarray(value[..., None] * colour)


def _blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share if share.ndim == 4 else share[..., None]
    return np.asarray(below + (above - below) * share)


def _uniform(bits: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 2**-53 in [0, 1)."""
    raw = bits.random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)


def _grain(bits: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of mean 0 and deviation about 1: the sum of two uniform bytes, a triangle."""
    count = int(np.prod(shape))
    raw = bits.random_raw(-(-count // 4)).astype("<u8").view(np.uint8)
    pairs = raw[: 2 * count].reshape(*shape, 2).astype(np.float64)
    return np.asarray((pairs[..., 0] + pairs[..., 1] - 255) / 104)


_TURN = 0.1  # of a full turn, to either side
_COSINE = np.rint(np.cos(np.arange(1024) * (2 * np.pi / 1024)) * 65536) / 65536


def _length(x: Field, y: Field) -> Field:
    return np.sqrt(x * x + y * y)


def _box(x: Field, y: Field, width: float, height: float) -> Field:
    """Signed distance to a rectangle of half sides ``width`` and ``height``."""
    dx, dy = np.abs(x) - width, np.abs(y) - height
    return _length(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def _circle(x: Field, y: Field) -> Field:
    return _length(x, y) - 0.85


def _square(x: Field, y: Field) -> Field:
    return _box(x, y, 0.7, 0.7)


def _triangle(x: Field, y: Field) -> Field:
    slope = 0.8660254037844386 * np.abs(x) + 0.5 * y
    return np.maximum(slope, -y) - 0.48


def _star(x: Field, y: Field) -> Field:
    """Five points: two mirrors fold the plane into one of them."""
    cosine, sine = 0.8090169943749475, 0.5877852522924731
    x = np.abs(x)
    for side in (1, -1):
        fold = 2 * np.maximum(side * cosine * x - sine * y, 0)
        x, y = x - fold * side * cosine, y + fold * sine
    x, y = np.abs(x), y - 1.0
    edge_x, edge_y = 0.42 * sine, 0.42 * cosine - 1
    along = np.clip((x * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y), 0, 1)
    side_of = np.where(y * edge_x - x * edge_y > 0, 1.0, -1.0)
    return _length(x - edge_x * along, y - edge_y * along) * side_of


def _cross(x: Field, y: Field) -> Field:
    return np.minimum(_box(x, y, 0.9, 0.27), _box(x, y, 0.27, 0.9))


def _ring(x: Field, y: Field) -> Field:
    return np.abs(_length(x, y) - 0.68) - 0.2


def _heart(x: Field, y: Field) -> Field:
    x, y = np.abs(x) / 1.6, y / 1.6 + 0.56
    lobe = _length(x - 0.25, y - 0.75) - 0.3535533905932738
    diagonal = np.maximum(x + y, 0) / 2
    body = np.minimum(_length(x, y - 1), _length(x - diagonal, y - diagonal))
    return 1.6 * np.where(x + y > 1, lobe, np.where(x > y, body, -body))


def _crescent(x: Field, y: Field) -> Field:
    return np.maximum(_length(x + 0.1, y) - 0.9, 0.72 - _length(x - 0.36, y))


def _stripes(x: Field, y: Field) -> Field:
    return np.maximum(_box(x, y, 0.75, 0.8), np.abs(y - 0.62 * np.rint(y / 0.62)) - 0.17)


def _arrow(x: Field, y: Field) -> Field:
    head = np.maximum(0.7071067811865476 * (np.abs(x) + y - 0.9), 0.05 - y)
    return np.minimum(head, _box(x, y + 0.4, 0.2, 0.5))


FIGURES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
    "stripes": _stripes,
    "arrow": _arrow,
}
