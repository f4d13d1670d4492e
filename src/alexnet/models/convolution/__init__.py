"""Convolutions with fewer multiplications, where this machine can compile their kernel."""

from alexnet.models.convolution.native import Unavailable, ready
from alexnet.models.convolution.winograd import (
    convolve,
    convolve_folded,
    fits,
    folds,
    use,
)

__all__ = ["Unavailable", "convolve", "convolve_folded", "fits", "folds", "ready", "use"]
