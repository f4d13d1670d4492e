"""A batch forward and backward before the clock runs: how long it takes, and what it compiles."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.training.step import draw_ahead

if TYPE_CHECKING:
    from alexnet.training.stage import Stage

Called = Callable[[Tensor], Tensor]


def seconds(stage: Stage, x: Tensor, labels: Tensor) -> float:
    """Time forward and backward of one batch. Nothing of the run is touched.

    On a copy of the network, with bf16 weights where a step has them; where it is compiled, on itself, so
    that it is compiled once. Of pictures as a step is given them: other kernels are compiled for another type.
    """
    found = []
    if stage.captured is not None:
        x = stage.captured.rounded(x)
    if stage.masters is not None:
        stage.masters.rehearse(stage.optimizer, replayed=stage.captured is not None)
    with _compiled(stage) if stage.computing.compile != "no" else _copied(stage) as called:
        for _ in range(3):  # the first maps memory and chooses kernels
            start = time.perf_counter()
            draw_ahead(stage, len(labels))
            with stage.device.autocast():
                logits = called(x)
            F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            stage.device.synchronise()
            found.append(time.perf_counter() - start)
    return min(found[1:])


@contextmanager
def _copied(stage: Stage) -> Iterator[Called]:
    working = stage.masters.working if stage.masters else stage.model
    model, first = copy.deepcopy(working), stage.first
    yield (lambda x: model(x, first)) if first else model


@contextmanager
def _compiled(stage: Stage) -> Iterator[Called]:
    """Give what the loop calls; afterwards norms' statistics are put back and gradients forgotten."""
    networks = [stage.model, *([stage.masters.working] if stage.masters else [])]
    before = [buffer.clone() for buffer in stage.model.buffers()]
    try:
        yield stage.forward
    finally:
        with torch.no_grad():
            for buffer, kept in zip(stage.model.buffers(), before, strict=True):
                buffer.copy_(kept)
        for parameter in (p for network in networks for p in network.parameters()):
            parameter.grad = None
