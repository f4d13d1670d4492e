"""A recipe's ``[augment]``: what is drawn for a batch, and what that does to its pictures.

Draws are made for a whole batch and hold a row for each picture, so that any part of the batch
comes out as it would within the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from alexnet.data import augment, colour
from alexnet.data.loader import moved
from alexnet.data.preprocess import Preprocessing, centre
from alexnet.recipe import Augment


@dataclass(frozen=True)
class Draws:
    """What chance decided for N pictures; None for what the recipe does not ask for."""

    corners: Tensor | None = None  # int64 (N, 2): of the window
    boxes: Tensor | None = None  # int64 (N, 4): of the part that is resized
    mirrored: Tensor | None = None  # bool (N,)
    jitter: Tensor | None = None  # float32 (N, 3)
    noise: Tensor | None = None  # float32 (N, 3)
    holes: Tensor | None = None  # int64 (N, 2): centres of the squares set to zero

    def rows(self, which: slice) -> Draws:
        """Return the draws of some of the pictures."""
        return self._each(lambda t: t[which])

    def on(self, device: torch.device) -> Draws:
        """Return them where the pictures are, copied without waiting."""
        return self._each(lambda t: moved(t, device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        every = {f.name: getattr(self, f.name) for f in fields(self)}
        return Draws(**{name: None if t is None else change(t) for name, t in every.items()})


def draw(
    plan: Augment,
    prepared: Preprocessing,
    indices: Tensor,
    epoch: int,
    generator: torch.Generator,
) -> Draws:
    """Draw for the pictures of a whole batch, whose numbers in the data set are ``indices``."""
    count, area = len(indices), plan.area != (1.0, 1.0)
    chunk = augment.CHUNK if plan.window == "chunk" else 1
    boxes = corners = mirrored = None
    if area:
        boxes = augment.draw_boxes(count, prepared.picture_size, plan.area, plan.ratio, generator)
    elif plan.crop or plan.flip != "none" or plan.window != "centre":
        corners = _corners(plan, prepared, count, generator)
    if area or corners is not None:
        mirrored = augment.draw_mirrored(plan.flip, indices, epoch, generator, chunk=chunk)
    return Draws(
        corners,
        boxes,
        mirrored,
        jitter=colour.draw_jitter(count, plan.jitter, generator) if plan.jitter else None,
        noise=colour.draw_noise(count, generator) if plan.colour else None,
        holes=augment.draw_holes(count, prepared.size, generator) if plan.cutout else None,
    )


def _corners(
    plan: Augment, prepared: Preprocessing, count: int, generator: torch.Generator
) -> Tensor:
    """Draw where the windows lie: anywhere in the picture, or about its centre."""
    border = prepared.picture_size - _window(prepared)
    if plan.window == "centre":
        return augment.draw_shifts(count, plan.crop, generator) + border // 2
    chunk = augment.CHUNK if plan.window == "chunk" else 1
    return augment.draw_corners(count, border, generator, chunk=chunk)


def _window(prepared: Preprocessing) -> int:
    """Return the side of the window that is seen of a stored picture."""
    return prepared.size if prepared.fit == "crop" else prepared.picture_size


def noise_at(
    plan: Augment, noise: Tensor | None, step: int, *, steps_per_epoch: int, batch: int
) -> Tensor | None:
    """Return the colour noise of a step: None from ``augment.colour_until`` on."""
    until = plan.colour_until
    over = until and step >= until.steps(steps_per_epoch=steps_per_epoch, batch=batch)
    return None if over else noise


def apply(
    plan: Augment,
    prepared: Preprocessing,
    noise: Tensor | None,
    pictures: Tensor,
    draws: Draws,
) -> Tensor:
    """Augment and preprocess stored pictures, uint8 ``(N, H, W, 3)``: float32 ``(N, 3, size, size)``.

    ``noise``: of ``measured.noise``, where the recipe asks for colour noise.
    """
    draws = draws.on(pictures.device)
    x = prepared(_levels(prepared, pictures, draws))
    if noise is not None and draws.noise is not None:
        x = colour.add_noise(x, draws.noise, noise, plan.colour_shrink)
    return x if draws.holes is None else augment.cutout(x, plan.cutout, draws.holes)


def _levels(prepared: Preprocessing, pictures: Tensor, draws: Draws) -> Tensor:
    """Cut, mirror and tint: levels 0..255, still uint8 where nothing is tinted."""
    if draws.mirrored is not None and draws.corners is not None:
        side = _window(prepared)
        pictures = augment.cut(pictures, draws.corners, draws.mirrored, (side, side))
    elif draws.mirrored is not None and draws.boxes is not None:
        pictures = augment.resample(pictures, draws.boxes, draws.mirrored, prepared.size)
    if draws.jitter is None:
        return pictures
    if prepared.fit == "crop" and pictures.shape[1] != prepared.size:
        pictures = centre(
            pictures, prepared.size
        )  # the window that is seen, not the border around it
    return colour.jitter(pictures, draws.jitter)
