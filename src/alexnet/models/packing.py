"""Several maps of a picture side by side in one vector, and apart again.

Each lies there as convolutions read it: rows, columns, channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, cat, split

from alexnet.models.rows import Shape


def pack(maps: Sequence[Tensor]) -> Tensor:
    """Return ``(N, D)`` of several ``(N, C, H, W)`` or ``(N, D)``; a single one stays as it is."""
    if len(maps) == 1:
        return maps[0]
    return cat([(m.permute(0, 2, 3, 1) if m.ndim == 4 else m).flatten(1) for m in maps], 1)


def unpack(packed: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Return the maps that ``pack`` made ``(N, D)`` of; ``shapes`` are theirs without the batch."""
    parts = split(packed, [math.prod(shape) for shape in shapes], 1)
    return [_as_map(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _as_map(part: Tensor, shape: Shape) -> Tensor:
    if len(shape) == 1:
        return part
    channels, height, width = shape
    return part.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def packed_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape, without the batch, of what ``pack`` makes of maps of these shapes."""
    return shapes[0] if len(shapes) == 1 else (sum(map(math.prod, shapes)),)
