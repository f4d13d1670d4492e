"""Dense tensors in the order of their memory, so that two of one format are walked alike."""

from __future__ import annotations

import torch
from torch import Tensor


def as_it_lies(tensor: Tensor) -> Tensor:
    """Return a dense tensor's values in the order of its memory: a view, ``(numel,)``."""
    return tensor.as_strided((tensor.numel(),), (1,))


def lying_as(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a tensor's values in the memory format of ``other``, of its shape: itself where it has it."""
    if tensor.stride() == other.stride():
        return tensor
    return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)


def matrix(kernel: Tensor) -> Tensor:
    """View a dense kernel ``(out, ...)`` as ``(out, columns)``, the columns in the order of its memory.

    Of two kernels of one memory format the columns are in one order.
    """
    columns = kernel.numel() // len(kernel)
    return kernel.as_strided((len(kernel), columns), (columns, 1))
