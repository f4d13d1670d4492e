"""Reading ahead: a thread makes the next items while the last one is worked on. No torch here."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """No more items: the iterable is at its end, or raised ``error``."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterate over ``items`` with at most ``depth`` of them made in advance, in their order.

    Use it in a ``with`` block: leaving it, for whatever reason, ends the thread. What ``items``
    raises is raised where the item was due. ``waited``: seconds in which an item was not ready.
    """

    def __init__(self, items: Iterable[T], depth: int = 3) -> None:
        self.waited = 0.0
        self._items = items
        self._ready: queue.Queue[T | _End] = queue.Queue(depth)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._make, name="read-ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        while self._thread.is_alive():  # it may be waiting for room
            self._drop()
            self._thread.join(0.01)
        self._drop()

    def _drop(self) -> None:
        while not self._ready.empty():
            self._ready.get_nowait()

    def __iter__(self) -> Iterator[T]:
        while True:
            start = time.perf_counter()
            item = self._ready.get()
            self.waited += time.perf_counter() - start
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return

    def _make(self) -> None:
        try:
            for item in self._items:
                self._ready.put(item)
                if self._left.is_set():
                    return
        # Whatever it is, the reader of the items has to know it.
        except BaseException as error:
            self._ready.put(_End(error))
        else:
            self._ready.put(_End())
