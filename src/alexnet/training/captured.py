"""A training step as one CUDA graph: forward, backward and update in one launch.

A step is some hundreds of kernels; those of a small network are over sooner than the next one is
launched. Here the step's own code runs a few times, is recorded once, and then replayed. A replay knows
no Python: what changes from step to step lies in memory that stays where it is (pictures, labels,
rates; ``models.layers.Dropout.draw``'s masks), and all else is part of a key whose change records anew.

CUDA's side is ``CudaGraph`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from alexnet.errors import UsageError
from alexnet.training import optim

WARM_UP = (
    3  # steps that run as ever before a recording: kernels are chosen, the rule makes its memory
)
EXHAUSTED = "out of memory"  # torch's word and the driver's

Outputs = tuple[Tensor, Tensor]
Work = Callable[[], Outputs]
Step = Callable[[Tensor, Tensor], Outputs]


class Graph(Protocol):
    """What records work and repeats it on the same memory."""

    def aside(self, work: Work) -> Outputs:
        """Run ``work`` where it would be recorded."""

    def record(self, work: Work) -> Outputs:
        """Record ``work``; returns what ``replay`` will fill."""

    def forget(self) -> None:
        """Drop the recording, if there is one, and let go of its memory."""

    def replay(self) -> None:
        """Do what was recorded."""


class CudaGraph:
    """CUDA's graphs, as torch captures them, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, _stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def aside(self, work: Work) -> Outputs:
        """Run ``work`` on that stream, in its place between what this one does before and after."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            found = work()
        here.wait_stream(self._stream)
        return found

    def record(self, work: Work) -> Outputs:
        """Capture ``work``: nothing of it is done yet."""
        graph = torch.cuda.CUDAGraph()
        try:
            # The thread that reads ahead allocates and copies meanwhile, and may.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                found = work()
        except RuntimeError as error:
            raise _of_memory(error) or UsageError(
                f"the step cannot be captured as a CUDA graph ({_first(error)}); set train.graph=false"
            ) from None
        self._graph = graph
        return found

    def forget(self) -> None:
        """Drop the graph: its memory, a step's, may be taken for others."""
        self._graph = None

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        assert self._graph is not None
        self._graph.replay()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that all graphs of a device are captured on.

    With one for each run of a process, each took 64 MiB more: supposedly cuBLAS's room, one a stream.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _of_memory(error: BaseException | None) -> BaseException | None:
    """Return what says, of an error or of those it came in place of, that memory ran out.

    torch's own may be followed by the driver's, where the capture that it broke off is ended; and the
    driver's is no ``OutOfMemoryError``.
    """
    while error is not None and EXHAUSTED not in str(error):
        error = error.__context__
    return error


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


class Captured:
    """Takes steps by way of a ``Graph``: the first ``WARM_UP`` as they are, all others as replays.

    A batch of other than ``batch`` pictures, an epoch's last, is taken without, in between. ``dtype``:
    what all pictures are rounded to beforehand, where the first row would; None: they stay as they come.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        graph: Graph,
        batch: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._optimizer, self._graph, self._batch, self._dtype = optimizer, graph, batch, dtype
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._rates: list[Tensor] = []
        self._outputs: Outputs | None = None
        self._key: object = None
        self._left = WARM_UP
        for group in optimizer.param_groups:
            group["capturable"] = True  # torch's Adam asks for the word

    def __call__(self, step: Step, x: Tensor, labels: Tensor, key: object) -> Outputs:
        """Take ``step`` of ``x`` and ``labels``; returns copies of what it returns.

        Pictures of one shape, always. ``key``: what besides pictures, labels, masks and rates decides
        what the step does. The groups' rates are numbers here and tensors within the step.
        """
        if len(labels) != self._batch:
            self._set_rates(x.device)
            return step(self.rounded(x), labels)
        if key != self._key:
            self._key, self._left, self._outputs = key, WARM_UP, None
            self._graph.forget()  # before the steps of the warm-up take as much again
        inputs = self._filled(x, labels)
        self._set_rates(x.device)
        loss, right = self._taken(lambda: step(*inputs))
        return loss.clone(), right.clone()

    def rounded(self, x: Tensor) -> Tensor:
        """Return pictures as a step is given them: rounded to ``dtype`` where there is one."""
        return x if self._dtype is None else x.to(self._dtype)

    def _taken(self, work: Work) -> Outputs:
        if self._left:
            self._left -= 1
            return self._graph.aside(work)
        if self._outputs is None:
            self._outputs = self._graph.record(work)
        self._graph.replay()
        return self._outputs

    def _filled(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._inputs is None:
            self._inputs = (torch.empty_like(x, dtype=self._dtype), torch.empty_like(labels))
        for kept, new in zip(self._inputs, (x, labels), strict=True):
            kept.copy_(new)
        return self._inputs

    def _set_rates(self, device: torch.device) -> None:
        """Put the numbers of the groups into the tensors that the rule reads."""
        numbers, every = optim.rates(self._optimizer), self._optimizer.param_groups
        if not self._rates:
            self._rates = [torch.zeros((), device=device) for _ in every]
        for group, rate, number in zip(every, self._rates, numbers, strict=True):
            group["lr"] = rate.fill_(number)
