"""Means over windows: torch's, one that does nothing where it can, one that says how it rounds."""

from __future__ import annotations

from torch import Tensor, nn

# Devices on which torch refuses a side that is no multiple of the number of parts (its issue 96056).
EVEN_PARTS_ONLY = {"mps"}


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """torch's mean over ``side x side`` parts of a map; a map of just that size is its own mean."""

    output_size: int

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C, side, side)`` for ``(N, C, H, W)``."""
        if x.shape[-2:] == (self.output_size, self.output_size):
            return x  # torch would read and write it, forward and backward
        if x.device.type in EVEN_PARTS_ONLY and any(n % self.output_size for n in x.shape[-2:]):
            return super().forward(x.cpu()).to(x.device)
        return super().forward(x)


class AvgPool2d(nn.AvgPool2d):
    """torch's mean over windows, of the values that lie inside the map."""

    def __init__(self, kernel: int, stride: int, padding: int, *, ceil: bool) -> None:
        super().__init__(kernel, stride, padding, ceil_mode=ceil, count_include_pad=False)

    def extra_repr(self) -> str:
        """Say how sizes are rounded, as torch's maximum does and its mean does not."""
        return f"{super().extra_repr()}, ceil_mode={self.ceil_mode}"
