"""Convolutions with fewer multiplications and norms in one pass, where a machine can compile them."""

from alexnet.models.kernels.native import Unavailable, ready
from alexnet.models.kernels.response_norm import normalise, normalises
from alexnet.models.kernels.winograd import (
    convolve,
    convolve_folded,
    fits,
    folds,
    leave,
    tell,
    times_fewer,
    use,
)

__all__ = [
    "Unavailable",
    "convolve",
    "convolve_folded",
    "fits",
    "folds",
    "leave",
    "normalise",
    "normalises",
    "ready",
    "tell",
    "times_fewer",
    "use",
]
