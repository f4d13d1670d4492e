"""Two threads in the place of two processes: what one gives, the other gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class Pair:
    """The exchanges of two threads; a thread that fails lets the other one fail too."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=30)
        self._given: list[Tensor | None] = [None, None]
        self.bytes = [0, 0]

    def swap(self, rank: int) -> Callable[[Tensor], Tensor]:
        """Return a rank's exchange: it gives a tensor and returns the other's."""

        def swapped(tensor: Tensor) -> Tensor:
            self._given[rank] = tensor.detach().clone()
            self.bytes[rank] += tensor.numel() * tensor.element_size()
            self._barrier.wait()
            found = self._given[1 - rank]
            self._barrier.wait()
            assert found is not None
            assert found.shape == tensor.shape
            return found

        return swapped

    def total(self, rank: int) -> Callable[[Tensor], Tensor]:
        """Return a rank's sum over both."""
        swap = self.swap(rank)

        def summed(tensor: Tensor) -> Tensor:
            other = swap(tensor)
            return tensor + other if rank == 0 else other + tensor

        return summed

    def run(self, work: Callable[[int], T]) -> list[T]:
        """Run ``work(rank)`` in two threads and return what they gave."""
        found: dict[int, T] = {}
        faults: list[BaseException] = []

        def run(rank: int) -> None:
            try:
                found[rank] = work(rank)
            except BaseException as error:
                faults.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return [found[0], found[1]]
