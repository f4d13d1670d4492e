"""Convolutions with fewer multiplications, norms in one pass, dense layers by rows: in C++, where it can be."""

from alexnet.models.kernels.dense import ByRows, multiplies, multiply
from alexnet.models.kernels.native import Unavailable, ready
from alexnet.models.kernels.response_norm import normalise, normalises
from alexnet.models.kernels.winograd import (
    convolve,
    convolve_folded,
    in_use,
    leave,
    tell,
    use,
)
from alexnet.models.kernels.worth import fits, folds, is_product, times_fewer

__all__ = [
    "ByRows",
    "Unavailable",
    "convolve",
    "convolve_folded",
    "fits",
    "folds",
    "in_use",
    "is_product",
    "leave",
    "multiplies",
    "multiply",
    "normalise",
    "normalises",
    "ready",
    "tell",
    "times_fewer",
    "use",
]
