"""From stored pictures to what a network sees: one object, saved with the weights.

Training, evaluation, prediction, serving and export all call the same ``Preprocessing``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Scale to 0..1 (or leave 0..255), subtract ``mean``, divide by ``std``, resize to ``size``.

    ``picture_size`` is the side of the stored square pictures: a photograph is brought to it first
    (``pictures.fit_square``). Resizing is bilinear on floats with half-pixel centres and no
    antialias, which is what ``tf.image.resize`` does; it commutes with the affine step.
    """

    picture_size: int
    size: int
    scale: str = "0..1"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn uint8 RGB ``(N, H, W, 3)`` into float32 ``(N, 3, size, size)``, channels-last."""
        x = pictures.permute(0, 3, 1, 2).float()  # a view: NHWC memory is channels-last
        unit = 255.0 if self.scale == "0..1" else 1.0
        if (unit, self.mean, self.std) != (1.0, (0.0,) * 3, (1.0,) * 3):
            factor = torch.tensor([1 / (unit * s) for s in self.std], device=x.device)
            shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)])
            x = torch.addcmul(shift.to(x.device).view(3, 1, 1), x, factor.view(3, 1, 1))
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return x.contiguous(memory_format=torch.channels_last)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``Preprocessing.from_json`` of them gives the same object."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Preprocessing:
        """Rebuild from ``to_json``."""
        return cls(**{**plain, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})
