"""From stored pictures to what a network sees: one object, saved with the weights.

Training, evaluation, prediction and export all call the same ``Preprocessing``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.data import catalogue
from alexnet.data.whole_levels import resized
from alexnet.errors import UnknownName, UsageError

Triple = tuple[float, float, float]
FITS = ("resize", "crop")
RESIZES = ("float", "uint8")
MEAN_PICTURE = "mean_picture"


@dataclass(frozen=True)
class Preprocessing:
    """Fit to ``size``, scale to 0..1 (or leave 0..255), subtract the mean, divide by ``std``.

    ``picture_size`` is the side of the stored square pictures: a photograph is brought to it first,
    by ``square_fit`` (``pictures.fit_square``: ``crop`` or ``stretch``). ``fit``: ``resize`` shows the whole picture, bilinear on floats with
    half-pixel centres and no antialias, which is what ``tf.image.resize`` does; ``crop`` shows the
    ``size`` x ``size`` window at its centre. ``resize`` = ``uint8`` interpolates to whole levels, as
    OpenCV does (``whole_levels.resized``), before they are scaled.

    ``mean`` is subtracted after scaling. ``mean_picture``, float32 ``(picture_size, picture_size,
    3)`` in levels 0..255, is subtracted besides: its central window whatever window a picture is,
    as the program of 2012 did (fitted by resizing, where pictures are).

    Raises ``UsageError`` for a window larger than the picture, ``UnknownName`` for another ``fit``.
    """

    picture_size: int
    size: int
    scale: str = "0..1"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    fit: str = "resize"
    mean_picture: Tensor | None = field(default=None, compare=False, repr=False)
    resize: str = "float"
    square_fit: str = "crop"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise UnknownName("input.fit", self.fit, FITS)
        if self.resize not in RESIZES:
            raise UnknownName("input.resize", self.resize, RESIZES)
        if self.square_fit not in catalogue.FITS:
            raise UnknownName("data.fit", self.square_fit, catalogue.FITS)
        if self.fit == "crop" and self.size > self.picture_size:
            raise UsageError(
                f"input.size = {self.size} is more than the {self.picture_size} pixels of the stored "
                "pictures, so no window of it can be cut; lower it, or set input.fit = 'resize'"
            )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn RGB levels ``(N, H, W, 3)`` into float32 ``(N, 3, size, size)``, channels-last.

        uint8 or float, 0..255. Pictures of another size than the stored one are taken as windows
        that an augmentation or a test view has cut already.
        """
        if self.fit == "crop":
            pictures = centre(pictures, self.size)
        elif self.resize == "uint8":
            pictures = resized(pictures, self.size)
        x = self._normalised(pictures).permute(0, 3, 1, 2)  # NHWC memory is channels-last
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return x.contiguous(memory_format=torch.channels_last)

    def _normalised(self, pictures: Tensor) -> Tensor:
        """Scale and shift, each level by the factor of its channel: float32, the same shape.

        Factors and shifts are written out for a whole picture, so that rows are long enough for
        vector instructions: a third of the time of broadcasting three numbers.
        """
        n, height, width, _ = pictures.shape
        x = pictures.flatten(1).to(torch.float32, copy=True)  # n may be 0: a rank without a picture
        if self._is_identity():
            return x.view(n, height, width, 3)
        factor, shift = _factors(self.levels, self.mean, self.std, x.device)
        shift = shift.expand(height, width, 3)
        if self.mean_picture is not None:
            shift = shift - self._mean_of(height, width).to(x.device) * factor
        whole = factor.expand(height, width, 3).reshape(-1)
        out = None if torch.compiler.is_exporting() else x  # ONNX knows no results in place
        return torch.addcmul(shift.reshape(-1), x, whole, out=out).view(n, height, width, 3)

    @property
    def levels(self) -> float:
        """Return the level (0..255) that becomes 1 before the mean and the deviation."""
        return 255.0 if self.scale == "0..1" else 1.0

    def _is_identity(self) -> bool:
        plain = (self.levels, self.mean, self.std) == (1.0, (0.0,) * 3, (1.0,) * 3)
        return plain and self.mean_picture is None

    def _mean_of(self, height: int, width: int) -> Tensor:
        """Return the mean picture as pictures of this size are fitted: ``(height, width, 3)``."""
        assert self.mean_picture is not None
        mean = self.mean_picture[None]
        if self.fit == "crop":
            return centre(mean, self.size)[0]
        if mean.shape[1:3] != (height, width):
            x = mean.permute(0, 3, 1, 2)
            x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
            mean = x.permute(0, 2, 3, 1)
        return mean[0]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; with ``tensors``, ``from_json`` of them gives the same object."""
        plain = {**vars(self), "mean": list(self.mean), "std": list(self.std)}
        if (
            self.square_fit == "crop"
        ):  # left out, as before there was a choice: kept features stay valid
            del plain["square_fit"]
        return {**plain, MEAN_PICTURE: self.mean_picture is not None}

    def tensors(self) -> dict[str, Tensor]:
        """Return what is too large for JSON: ``mean_picture``, where there is one."""
        return {} if self.mean_picture is None else {MEAN_PICTURE: self.mean_picture.cpu()}

    def on(self, device: torch.device) -> Preprocessing:
        """Return the same with its mean picture on a device."""
        picture = self.mean_picture
        return self if picture is None else replace(self, mean_picture=picture.to(device))

    @classmethod
    def from_json(
        cls, plain: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> Preprocessing:
        """Rebuild from ``to_json`` and ``tensors``. Raises ``KeyError`` for a missing tensor."""
        picture = (tensors or {})[MEAN_PICTURE] if plain.get(MEAN_PICTURE) else None
        numbers = {"mean": tuple(plain["mean"]), "std": tuple(plain["std"])}
        return cls(**{**plain, **numbers, MEAN_PICTURE: picture})


@cache
def _factors(
    levels: float, mean: Triple, std: Triple, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what each channel is multiplied by, then shifted by: ``(3,)`` each, not to be changed.

    Once a device: every copy of numbers to a GPU makes the processor wait.
    """
    factor = torch.tensor([1 / (levels * s) for s in std])
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    return factor.to(device), shift.to(device)


def centre(pictures: Tensor, size: int) -> Tensor:
    """Return the central ``size`` x ``size`` windows of ``(N, H, W, 3)``, as a view."""
    top, left = ((side - size) // 2 for side in pictures.shape[1:3])
    return pictures[:, top : top + size, left : left + size]
