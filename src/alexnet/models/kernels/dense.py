"""Large dense layers row by row: a gradient is met by the update rule where it is made.

Behind ReLU and dropout most gradients of a layer's outputs are zero, and so most pictures have no part
in most rows of its weights' gradient. That gradient is kept as its two factors, the inputs and the
gradients of the outputs, until the rule asks for it (``training.row_update``). float32 on the CPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet.models.kernels.native import Dense, Unavailable, ready

LARGE = 1 << 18  # weights; with fewer, all of this takes less time than to ask
SPARSE = (
    0.2  # of the outputs' gradients are not zero, at most: with more, torch's products are faster
)
CLOSE = 1e-4  # of the spread of the results: some ten times their rounding


@dataclass
class ByRows:
    """What a dense layer leaves for its update.

    ``taken``: inputs ``(N, inputs)`` and gradients of the outputs ``(N, outputs)`` of a step.
    ``awake``: the rows that a step computes, int32, ascending; of all others the output is zero. None: all, by
    torch. ``fired``: ``(outputs,)``, the outputs above zero for any picture of the last step, where ``awake`` is given.
    """

    taken: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    awake: Tensor | None = None
    fired: Tensor | None = None

    def take(self) -> tuple[Tensor, Tensor] | None:
        """Return the factors of a step's gradient, and forget them; None where there are none."""
        taken, self.taken = self.taken, []
        if len(taken) < 2:
            return taken[0] if taken else None
        inputs, gradients = zip(*taken, strict=True)
        return torch.cat(inputs), torch.cat(gradients)


def suits(layer: nn.Module) -> bool:
    """Say whether a layer is dense, learns, and is large enough; raises ``Unavailable`` without kernels."""
    if not isinstance(layer, nn.Linear) or not layer.weight.requires_grad:
        return False
    own = layer.weight
    plain = own.device.type == "cpu" and own.dtype == torch.float32 and own.is_contiguous()
    return plain and own.numel() >= LARGE and layer.in_features % ready().lanes() == 0


def sparse(gradient: Tensor) -> bool:
    """Say whether so few values of a gradient are not zero that their pictures are worth looking for."""
    return int(torch.count_nonzero(gradient)) <= SPARSE * gradient.numel()


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, rows: ByRows) -> Tensor:
    """Return ``(N, outputs)`` for ``(N, inputs)``; ``rows`` gets the factors of the weights' gradient."""
    y: Tensor = _Product.apply(x, weight, bias, rows)  # type: ignore[no-untyped-call]
    return y


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: ByRows) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.rows = rows
        if rows.awake is None:
            return nn.functional.linear(x, weight, bias)
        y = forward(x, weight, bias, rows.awake)
        rows.fired = (y > 0).any(0)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient, (of_x, of_weight, of_bias) = gradient.contiguous(), ctx.needs_input_grad[:3]
        if of_weight:
            ctx.rows.taken.append((x.detach(), gradient))
        dx = _inputs_gradient(gradient, weight) if of_x else None
        return dx, None, gradient.sum(0) if of_bias else None, None


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    """Return ``(N, outputs)``: of the numbered rows the product with ``x`` ``(N, inputs)``, else zero.

    A row's results for a picture have the same bits whatever other rows and pictures there are.
    """
    y = x.new_empty((len(x), len(weight)))
    at = (rows.data_ptr(), len(rows), y.data_ptr(), torch.get_num_threads())
    given = None if bias is None else bias.data_ptr()
    ready().dense(ctypes.byref(_shape(x, weight)), x.data_ptr(), weight.data_ptr(), given, *at)
    return y


def _inputs_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    if not sparse(gradient):
        return gradient @ weight
    dx = gradient.new_empty((len(gradient), weight.shape[1]))
    at = (gradient.data_ptr(), weight.data_ptr(), dx.data_ptr(), torch.get_num_threads())
    ready().dense_back(ctypes.byref(_shape(dx, weight)), *at)
    return dx


def update(
    rule: int,
    numbers: ctypes.Structure,
    factors: tuple[Tensor, Tensor],
    weight: Tensor,
    memory: tuple[Tensor, ...],
    rests: Tensor,
    owed: Tensor,
) -> None:
    """Move a layer's weights, and what its rule remembers of them, by the factors of their gradient.

    ``rests`` ``(outputs,)`` uint8: rows whose memory is zero, so that without a gradient nothing moves them;
    ``owed`` int32: decays of squares that such rows have yet to make (``settle``).
    """
    x, gradient = factors
    first, squares = (*memory, None)[:2]
    ready().dense_update(
        *(rule, ctypes.byref(_shape(x, weight)), ctypes.byref(numbers), x.data_ptr()),
        *(gradient.data_ptr(), weight.data_ptr(), first.data_ptr()),  # type: ignore[union-attr]
        *(None if squares is None else squares.data_ptr(), rests.data_ptr(), owed.data_ptr()),
        torch.get_num_threads(),
    )


def settle(beta2: float, squares: Tensor, owed: Tensor) -> None:
    """Make the decays that rows of squares owe: the bits of those made step by step."""
    shape = Dense(0, squares.shape[1], squares.shape[0])
    at = (squares.data_ptr(), owed.data_ptr(), torch.get_num_threads())
    ready().dense_settle(ctypes.byref(shape), beta2, *at)


def check() -> None:
    """Compare the products with torch's. Raises ``Unavailable``."""
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(7, 96, generator=draw), torch.randn(10, 96, generator=draw)
    rows = torch.arange(10, dtype=torch.int32)
    found, expected = forward(x, weight, None, rows), x @ weight.T
    if not torch.allclose(found, expected, rtol=0, atol=CLOSE * float(expected.std())):
        raise Unavailable("the dense kernel computes something else on this processor")


def _shape(x: Tensor, weight: Tensor) -> Dense:
    return Dense(len(x), weight.shape[1], weight.shape[0])
