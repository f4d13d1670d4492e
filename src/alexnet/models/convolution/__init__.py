"""Convolutions with fewer multiplications, where this machine can compile their kernel."""

from alexnet.models.convolution.native import Unavailable, ready
from alexnet.models.convolution.winograd import convolve, fits, use

__all__ = ["Unavailable", "convolve", "fits", "ready", "use"]
