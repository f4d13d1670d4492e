"""Muon: hidden kernels move along orthogonal matrices, all else by another rule (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from alexnet.run.device import fast_bf16
from alexnet.training.groups import Groups
from alexnet.training.layout import lying_as, matrix

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's (2024), chosen for the steepest slope at zero
ROUNDS = 3
SMALL = 512  # shorter sides up to which a product is over sooner than a launch costs


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for hidden kernels (Jordan et al. 2024), another rule for all else.

    A kernel ``(out, in, k, k)`` is read as a matrix ``(out, in*k*k)`` and moved along the nearest
    semi-orthogonal matrix to its nesterov momentum. Before that it is scaled to the norm of an
    orthogonal matrix, ``sqrt(out)``: with a batch norm behind it, only its direction matters, and
    the rate then means the same from the first step to the last. ``together``: many kernels in one
    product, as a GPU wants it; the same to the rounding of bf16. ``aux`` makes that other rule of its groups.
    """

    def __init__(
        self,
        params: Groups,
        momentum: float,
        aux: Callable[[Groups], torch.optim.Optimizer],
    ) -> None:
        super().__init__(params, {"momentum": momentum})
        self._aux = aux([group for group in self.param_groups if not group["orthogonal"]])
        # One memory and the same groups: its rate is set, its state saved, with the rest.
        self._aux.state = self.state
        self.together = any(p.is_cuda for group in self.param_groups for p in group["params"])

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if group["orthogonal"] and p.grad is not None]
            if moved and self.together:
                self._move_together(moved, group["lr"], group["momentum"])
            for p in () if self.together else moved:
                self._move(p, group["lr"], group["momentum"])
        self._aux.step()

    def _move(self, p: Tensor, lr: float | Tensor, momentum: float) -> None:
        assert p.grad is not None
        memory = self._memory(p).mul_(momentum).add_(p.grad)
        towards = orthogonalise(p.grad.add(memory, alpha=momentum).flatten(1))
        p.mul_(math.sqrt(len(p)) / p.norm())
        towards = towards.reshape(p.shape).to(p.dtype)
        if isinstance(lr, Tensor):
            p.addcmul_(towards, lr, value=-1)
        else:
            p.add_(towards, alpha=-lr)

    def _move_together(self, params: list[Tensor], lr: float | Tensor, momentum: float) -> None:
        grads = [lying_as(p.grad, p) for p in params if p.grad is not None]
        memory = [self._memory(p) for p in params]
        torch._foreach_mul_(memory, momentum)
        torch._foreach_add_(memory, grads)
        slopes = torch._foreach_add(grads, memory, alpha=momentum)
        towards = orthogonalise_all([matrix(slope) for slope in slopes])
        scales = torch._foreach_norm(params)
        torch._foreach_reciprocal_(scales)
        torch._foreach_mul_(scales, [math.sqrt(len(p)) for p in params])
        for p, scale, direction in zip(params, scales, towards, strict=True):
            kernel = matrix(p).mul_(scale)  # its columns in any order, in that of the slopes
            if isinstance(lr, Tensor):
                kernel.addcmul_(direction, lr, value=-1)
            else:
                kernel.add_(direction, alpha=-lr)

    def _memory(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        memory: Tensor = state["momentum"]
        return memory


def orthogonalise(matrix: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Push the singular values of ``(rows, columns)`` towards 1 by a quintic Newton-Schulz iteration.

    Returns bf16 where the hardware multiplies that fast, else float32: without such units torch's
    bf16 product is a plain loop, a hundred times slower.
    """
    a, b, c = COEFFICIENTS
    x = matrix.to(torch.bfloat16 if fast_bf16(matrix.device) else torch.float32)
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(rounds):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def orthogonalise_all(matrices: list[Tensor], rounds: int = ROUNDS) -> list[Tensor]:
    """Return what ``orthogonalise`` makes of each, computed in as few products as their sizes allow.

    Matrices of one device. Those of similar shorter sides are one batch, filled up with zeros: an
    iteration leaves zeros zeros, and all else as it is without them. Returns views of the batches.
    """
    norms = torch._foreach_norm(matrices)
    torch._foreach_add_(norms, 1e-7)
    found: dict[int, Tensor] = {}
    for batch in _batches([(min(m.shape), max(m.shape)) for m in matrices]):
        lengths = torch.stack([norms[i] for i in batch])[:, None, None]
        x = _stacked([matrices[i] for i in batch]).div_(lengths)
        found |= zip(batch, _iterated(x, rounds).unbind(), strict=True)
    return [_cut(found[i], of) for i, of in enumerate(matrices)]


def _batches(sides: list[tuple[int, int]]) -> list[list[int]]:
    """Return which matrices are multiplied together, of their shorter and longer sides.

    The small ones by powers of four of the shorter side: a launch is dearer than zeros multiplied.
    """
    found: dict[object, list[int]] = {}
    for i, (short, long) in enumerate(sides):
        fours = ((short - 1).bit_length() + 1) // 2
        found.setdefault(fours if short <= SMALL else (short, long), []).append(i)
    return list(found.values())


def _stacked(matrices: list[Tensor]) -> Tensor:
    """Return matrices, each lying on its longer side, as ``(n, rows, columns)`` with zeros around."""
    rows, columns = (max(side(m.shape) for m in matrices) for side in (min, max))
    first = matrices[0]
    dtype = torch.bfloat16 if fast_bf16(first.device) else torch.float32
    x = torch.zeros(len(matrices), rows, columns, dtype=dtype, device=first.device)
    for room, of in zip(x.unbind(), matrices, strict=True):
        _cut(room, of).copy_(of)
    return x


def _iterated(x: Tensor, rounds: int) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(rounds):
        square = torch.bmm(x, x.mT)
        inner = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, inner, x, beta=a)
    return x


def _cut(room: Tensor, of: Tensor) -> Tensor:
    """Return the part of ``room`` in which a matrix lies: a view of the matrix's shape."""
    rows, columns = of.shape
    return room[:columns, :rows].T if rows > columns else room[:rows, :columns]
