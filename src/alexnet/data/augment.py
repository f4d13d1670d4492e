"""What part of a picture a training batch shows, and which way round: drawn, then applied.

What is drawn is a function of a generator alone, a row for each picture of a batch; what is applied
is a function of pictures and draws, on whatever device they lie.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 32  # consecutive pictures that share a window in the program of 2012
TRIES = 10  # parts drawn before the whole picture is taken, as in Inception and torchvision


def draw_shifts(count: int, border: int, generator: torch.Generator) -> Tensor:
    """Draw ``(count, 2)`` shifts, each uniform in ``-border..border``."""
    return torch.randint(-border, border + 1, (count, 2), generator=generator)


def draw_corners(count: int, border: int, generator: torch.Generator, *, chunk: int = 1) -> Tensor:
    """Draw ``(count, 2)`` upper left corners, rows and columns, each uniform in ``0..border``.

    ``border``: by how much the picture's side exceeds the window's. ``chunk``: how many consecutive
    pictures share a draw. At 256 and 224 pixels there are 33 x 33 of them.
    """
    few = torch.randint(border + 1, (-(-count // chunk), 2), generator=generator)
    return few.repeat_interleave(chunk, 0)[:count]


def draw_mirrored(
    kind: str, indices: Tensor, epoch: int, generator: torch.Generator, *, chunk: int = 1
) -> Tensor:
    """Say which pictures are mirrored: bool ``(N,)``.

    ``none``; ``random``: each with probability one half, ``chunk`` consecutive ones alike;
    ``alternate``: a fixed random half in even epochs and the other half in odd ones, so that two
    epochs show every picture both ways (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section
    3.6).
    """
    count = len(indices)
    if kind == "none":
        return torch.zeros(count, dtype=torch.bool)
    if kind == "random":
        few = torch.rand(-(-count // chunk), generator=generator) < 0.5
        return few.repeat_interleave(chunk)[:count]
    return in_turn(indices, epoch, 2) == 1


def in_turn(indices: Tensor, epoch: int, count: int) -> Tensor:
    """Return which of ``count`` forms of each picture an epoch takes: int64 ``(N,)``.

    Pictures start anywhere among theirs and take the next one every epoch, so that all are seen
    equally often.
    """
    # A fixed hash of the picture's index (Knuth's multiplier), so that no state is kept.
    return ((indices * 2654435761 >> 16) + epoch) % count


def draw_boxes(
    count: int,
    side: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Draw parts of square pictures: int64 ``(count, 4)``, top, left, height and width.

    ``area``: range of the share of the picture, uniform; ``ratio``: range of width to height,
    uniform in its logarithm; the place is uniform. A part that does not fit is drawn again, up to
    ``TRIES`` times; then the whole picture is taken, cut to the nearest ratio (Szegedy et al. 2014,
    section 6, in the writing of torchvision's ``RandomResizedCrop``).
    """
    u = torch.rand(4, TRIES, count, generator=generator, dtype=torch.float64)
    share = area[0] + (area[1] - area[0]) * u[0]
    low, high = (torch.tensor(r, dtype=torch.float64).log() for r in ratio)
    shape = (low + (high - low) * u[1]).exp()
    height, width = ((side**2 * share * r).sqrt().round() for r in (1 / shape, shape))
    fits = (height > 0) & (height <= side) & (width > 0) & (width <= side)
    first = fits.int().argmax(0, keepdim=True)
    place = [u[2] * (side - height + 1), u[3] * (side - width + 1), height, width]
    drawn = torch.stack([each.gather(0, first)[0].floor() for each in place], 1).long()
    return torch.where(fits.any(0)[:, None], drawn, _whole(side, ratio))


def _whole(side: int, ratio: tuple[float, float]) -> Tensor:
    """Return the largest central part whose ratio is in range: ``(4,)``."""
    height, width = round(side / max(1.0, ratio[0])), round(side * min(1.0, ratio[1]))
    return torch.tensor([(side - height) // 2, (side - width) // 2, height, width])


def draw_holes(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw the centres of ``cutout``'s squares: ``(count, 2)``, uniform in ``0..side-1``."""
    rows, columns = (torch.randint(side, (count, 1), generator=generator) for _ in "rc")
    return torch.cat([rows, columns], 1)


def cut(pictures: Tensor, corners: Tensor, mirrored: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a window out of each picture and mirror the chosen ones.

    pictures: ``(N, H, W, 3)``; corners: integer ``(N, 2)``, rows and columns, which may lie outside
    by less than the picture's side: it goes on by reflection; mirrored: bool ``(N,)``; size: height
    and width of the windows. Returns ``(N, *size, 3)``, the same dtype.
    """
    inside = pictures.device.type == "cpu" and _inside(corners, pictures.shape[1:3], size)
    return (_slices if inside else _gather)(pictures, corners, mirrored, size)


def _inside(corners: Tensor, sides: torch.Size, size: tuple[int, int]) -> bool:
    room = torch.tensor(sides) - torch.tensor(size)
    return bool(((corners >= 0) & (corners <= room)).all())


def _slices(pictures: Tensor, corners: Tensor, mirrored: Tensor, size: tuple[int, int]) -> Tensor:
    """Copy row by row: a fortieth of the time of gathering pixels, on a CPU."""
    out = pictures.new_empty((len(pictures), *size, 3))
    for to, picture, (top, left), mirror in zip(
        out, pictures, corners.tolist(), mirrored.tolist(), strict=True
    ):
        window = picture[top : top + size[0], left : left + size[1]]
        to.copy_(window.flip(1) if mirror else window)
    return out


def _gather(pictures: Tensor, corners: Tensor, mirrored: Tensor, size: tuple[int, int]) -> Tensor:
    """Read every pixel of the result once from where it comes from: one call on an accelerator."""
    device = pictures.device
    corners, mirrored = corners.to(device), mirrored.to(device)
    (height, width), (_, tall, wide, _) = size, pictures.shape
    rows = _reflect(torch.arange(height, device=device) + corners[:, :1], tall)
    across = torch.arange(width, device=device).expand(len(pictures), width)
    across = torch.where(mirrored[:, None], width - 1 - across, across)
    columns = _reflect(across + corners[:, 1:], wide)
    which = torch.arange(len(pictures), device=device)[:, None, None]
    return pictures[which, rows[:, :, None], columns[:, None, :]]


def _reflect(index: Tensor, side: int) -> Tensor:
    """Fold indices in ``(-side, 2*side-1)`` back into the picture; the edge itself is not doubled."""
    index = index.abs()
    return torch.where(index >= side, 2 * (side - 1) - index, index)


def resample(pictures: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Resize a part of each picture to ``size`` x ``size`` and mirror the chosen ones.

    pictures: uint8 ``(N, H, W, 3)``; boxes: as ``draw_boxes`` gives them; mirrored: bool ``(N,)``.
    Returns uint8 ``(N, size, size, 3)``. Bilinear with antialias, which is what Pillow's BILINEAR
    does: a part that shrinks is averaged over the pixels that it covers, and pixels outside the
    part have no share. On a CPU torch's kernel for uint8 rounds after each direction, elsewhere two
    products of matrices round once: they agree to one level.
    """
    if pictures.device.type != "cpu":
        return _resample_at_once(pictures, boxes, mirrored, size)
    out = pictures.new_empty((len(pictures), size, size, 3))
    for to, picture, (top, left, height, width), mirror in zip(
        out, pictures, boxes.tolist(), mirrored.tolist(), strict=True
    ):
        part = picture[top : top + height, left : left + width].permute(2, 0, 1)[None]
        part = F.interpolate(part, (size, size), mode="bilinear", antialias=True)
        to.copy_((part.flip(3) if mirror else part)[0].permute(1, 2, 0))
    return out


def _resample_at_once(pictures: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    boxes, mirrored = boxes.to(pictures.device), mirrored.to(pictures.device)
    height, width = pictures.shape[1:3]
    rows = _shares(boxes[:, 0], boxes[:, 2], height, size)
    columns = _shares(boxes[:, 1], boxes[:, 3], width, size)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    x = pictures.permute(0, 3, 1, 2).float()
    x = rows[:, None] @ x @ columns.mT[:, None]
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _shares(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Return by how much each of ``side`` pixels goes into each of ``size``: ``(N, size, side)``.

    A triangle around each new pixel's centre, as wide as it is, at least one old pixel.
    """
    step = (length.float() / size)[:, None, None]
    place = torch.arange(side, device=start.device) + 0.5
    middle = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    weight = (1 - (place - middle).abs() / step.clamp_min(1.0)).clamp_min(0.0)
    inside = (place > start[:, None, None]) & (place < (start + length)[:, None, None])
    weight = weight * inside
    return weight / weight.sum(2, keepdim=True)


def cutout(x: Tensor, side: int, holes: Tensor) -> Tensor:
    """Set one ``side`` x ``side`` square of each picture to zero (DeVries & Taylor 2017).

    x: float ``(N, C, H, W)``; holes: int64 ``(N, 2)``, as ``draw_holes`` gives them: squares may
    hang over the edge. Returns a new tensor.
    """
    height, width = x.shape[-2:]
    first = holes - side // 2
    rows, columns = (torch.arange(side, device=holes.device) for side in (height, width))
    in_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + side)
    in_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + side)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return x.clone().masked_fill_(hole.to(x.device), 0.0)  # in place, or the layout is lost
