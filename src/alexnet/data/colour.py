"""Noise and jitter in the colours of a training batch: drawn, then applied.

The noise is that of Krizhevsky et al. (2012, section 4.1): to every pixel of a picture is added
``sum over i of p_i * s_i * a_i``, with ``p_i`` the principal components of the training pixels'
colours, ``a_i`` normal with deviation 0.1, and ``s_i`` in either of two readings.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision weigh red, green and blue


def noise_of(
    variances: NDArray[np.float64],
    components: NDArray[np.float64],
    strength: float,
    reading: str,
) -> NDArray[np.float64]:
    """Return the matrix ``(3, 3)`` that turns three normal numbers into a shift in levels, 0..255.

    variances: ``(3,)``, of the pixels in levels 0..255 along ``components``, the columns of a
    ``(3, 3)``. strength: the paper's 0.1. ``variance`` is the paper's text, which multiplies by the
    eigenvalue, of pixels on the scale 0..1: on 0..255 it would exceed the range of a pixel.
    ``deviation`` multiplies by the eigenvalue's root, the same on any scale, as the name of the
    array in the program, ``color_stdevs``, suggests; it is about twice as strong.
    """
    on_unit = variances / 255**2
    spread = on_unit if reading == "variance" else np.sqrt(on_unit)
    return np.asarray(components * (255 * strength * spread), np.float64)


def draw_noise(count: int, generator: torch.Generator) -> Tensor:
    """Draw three normal numbers for each picture: float32 ``(count, 3)``."""
    return torch.randn(count, 3, generator=generator)


def add_noise(x: Tensor, drawn: Tensor, noise: Tensor, shrink: float = 1.0) -> Tensor:
    """Shift the colours of each picture by ``noise @ drawn``, then divide by ``shrink``.

    x: float32 ``(N, 3, H, W)``, channels-last, the mean subtracted; drawn: ``(N, 3)``; noise: ``(3,
    3)``, in the units of x. The program of 2012 divided by 1.1 while the noise was on, and pictures
    of a test never. Returns a new tensor, channels-last.
    """
    n, _, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, height, width * 3)  # long enough for vectors
    shift = (drawn.to(x.device) @ noise.to(x.device).T / shrink).repeat(1, width)
    shifted = torch.add(shift[:, None], rows, alpha=1 / shrink)
    return shifted.view(n, height, width, 3).permute(0, 3, 1, 2)


def draw_jitter(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Draw factors of brightness, contrast and saturation, each uniform in ``1 +- strength``."""
    return 1 + strength * (2 * torch.rand(count, 3, generator=generator) - 1)


def jitter(pictures: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of each picture, in this order.

    pictures: levels ``(N, H, W, 3)``, uint8 or float; factors: ``(N, 3)``, 1 leaves as it is. Each
    blends with black, with the picture's mean grey, with each pixel's grey, as Pillow's
    ``ImageEnhance`` does, but what leaves 0..255 is cut off once, at the end. Returns float32.
    """
    x = pictures.float()
    grey = x @ _grey(x.device)
    bright, contrast, saturation = factors.to(x.device)[:, :, None, None].unbind(1)
    scale = bright * contrast
    flat = bright * (1 - contrast) * grey.mean((1, 2), keepdim=True)
    greyer = (grey * (scale * (1 - saturation))).add_(flat)
    return torch.addcmul(greyer[..., None], x, (scale * saturation)[..., None]).clamp_(0, 255)


@cache
def _grey(device: torch.device) -> Tensor:
    """Once a device: every copy of numbers to a GPU makes the processor wait."""
    return torch.tensor(GREY, device=device)
