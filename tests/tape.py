"""CUDA's graphs acted out on a CPU: what torch was asked for is noted, and asked for again.

As a graph does, a replay runs the same kernels on the same memory with the same numbers: whatever a
step computes in Python, or makes anew, stays as it was when it was recorded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What would make a processor wait for a GPU: numbers, and shapes that depend on them.
ASKING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "unique")


class Tape(TorchDispatchMode):
    """A ``training.captured.Graph``. Unlike CUDA's, it does the work while it records it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.recorded = self.replayed = self.ran = 0
        self._done = False

    def aside(self, work):
        self.ran += 1
        return work()

    def forget(self):
        self.calls = []

    def record(self, work):
        assert not self.calls, "an older recording still has its memory"
        self._done = True
        self.recorded += 1
        with self:
            return work()

    def replay(self):
        self.replayed += 1
        if self._done:
            self._done = False
            return
        with torch.no_grad():
            for func, args, kwargs, found in self.calls:
                for old, new in zip(
                    tree_leaves(found), tree_leaves(func(*args, **kwargs)), strict=True
                ):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ASKING:
            raise RuntimeError(f"{name}: a graph cannot wait for a number")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found
