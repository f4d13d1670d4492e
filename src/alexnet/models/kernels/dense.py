"""Large dense layers row by row: a gradient is met by the update rule where it is made.

Behind ReLU and dropout most gradients of a layer's outputs are zero, and so most pictures have no part
in most rows of its weights' gradient. That gradient is kept as its two factors, the inputs and the
gradients of the outputs, until the rule asks for it (``training.row_update``). A layer that reads what a ReLU gives
is looked at by columns: most of its inputs are zero too. float32 on the CPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet.models.kernels.native import Dense, Numbers, Unavailable, drawn, ready

LARGE = 1 << 18  # weights; with fewer, all of this takes less time than to ask
SPARSE = 0.3  # of the values are not zero, at most: with more, torch's product is faster
SMALL = 64  # pictures, up to which these products are faster than torch's
FEW = 0.05  # the same of inputs, whose columns are gathered
CLOSE = 1e-4  # of the spread of the results: some ten times their rounding


@dataclass
class ByRows:
    """What a dense layer leaves for its update.

    ``columns``: it reads what a ReLU gives, dropped or not; its weights lie column by column (``lay_out``).
    ``taken``: inputs ``(N, inputs)`` and gradients of the outputs ``(N, outputs)`` of a step.
    ``awake``: the rows that a step computes, int32, ascending; of all others the output is zero. None: all.
    ``fired``: ``(outputs,)``, the outputs above zero for any picture of the last step, where ``awake`` is given.
    """

    columns: bool = False
    taken: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    awake: Tensor | None = None
    fired: Tensor | None = None

    def take(self) -> tuple[Tensor, Tensor] | None:
        """Return the factors of a step's gradient, and forget them; None where there are none.

        As ``update`` wants them: what is dense, and what is mostly zero, with a value for each row (or column).
        """
        taken, self.taken = self.taken, []
        if not taken:
            return None
        whole = taken[0] if len(taken) == 1 else tuple(map(torch.cat, zip(*taken, strict=True)))
        inputs, gradients = whole
        return (gradients, inputs) if self.columns else (inputs, gradients)

    def gradient(self, factors: tuple[Tensor, Tensor]) -> Tensor:
        """Return ``(outputs, inputs)``, the product of what ``take`` gave, as the weights lie."""
        dense, sparse = factors
        whole = sparse.T @ dense
        return whole.T if self.columns else whole


def suits(layer: nn.Module, *, columns: bool = False) -> bool:
    """Say whether a layer is dense, learns, and is large enough; raises ``Unavailable`` without kernels."""
    if not isinstance(layer, nn.Linear) or not layer.weight.requires_grad:
        return False
    own, width = layer.weight, layer.out_features if columns else layer.in_features
    plain = own.device.type == "cpu" and own.dtype == torch.float32 and own.is_contiguous()
    return plain and own.numel() >= LARGE and width % ready().lanes() == 0


def multiplies(layer: nn.Linear, x: Tensor) -> bool:
    """Say whether ``x`` is what ``multiply`` takes: ``(N, inputs)`` in float32, which autocast leaves alone."""
    plain = x.dim() == 2 and x.shape[1] == layer.in_features and x.dtype == torch.float32
    return plain and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


@torch.no_grad()
def lay_out(weight: Tensor) -> None:
    """Have weights ``(outputs, inputs)`` lie column by column; their values stay."""
    weight.data = weight.data.T.contiguous().T


def sparse(values: Tensor, most: float = SPARSE) -> bool:
    """Say whether so few values are not zero that they are worth looking for."""
    return int(torch.count_nonzero(values)) <= most * values.numel()


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, rows: ByRows) -> Tensor:
    """Return ``(N, outputs)`` for ``(N, inputs)``; ``rows`` gets the factors of the weights' gradient.

    The gradient of ``x`` may be zero where ``x`` is, if a ReLU gave it (``rows.columns``).
    """
    y: Tensor = _Product.apply(x, weight, bias, rows)  # type: ignore[no-untyped-call]
    return y


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: ByRows) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.rows, ctx.few = rows, rows.columns and sparse(x, FEW)
        if ctx.few:
            return gather(x, weight, bias)
        if rows.awake is not None:
            y = forward(x, weight, bias, rows.awake)
            rows.fired = (y > 0).any(0)
            return y
        if len(x) > SMALL:
            return nn.functional.linear(x, weight, bias)
        return across(x, weight.T, bias) if rows.columns else forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient, (of_x, of_weight, of_bias) = gradient.contiguous(), ctx.needs_input_grad[:3]
        if of_weight:
            ctx.rows.taken.append((x.detach(), gradient))
        dx = None
        if of_x:
            dx = taps(x, gradient, weight) if ctx.few else _back(gradient, weight, ctx.rows.columns)
        return dx, None, gradient.sum(0) if of_bias else None, None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """Return ``(N, outputs)``: of the numbered rows (None: of all) the product with ``x`` ``(N, inputs)``, else zero.

    A row's results for a picture have the same bits whatever other rows and pictures there are.
    """
    rows = _every(len(weight)) if rows is None else rows
    y = x.new_empty((len(x), len(weight)))
    at = (rows.data_ptr(), len(rows), y.data_ptr(), torch.get_num_threads())
    ready().dense(_shape(x, weight), x.data_ptr(), weight.data_ptr(), _at(bias), *at)
    return y


@cache
def _every(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.int32, device="cpu")


def across(values: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``(N, columns)``, the product of ``(N, rows)`` and a contiguous ``(rows, columns)``."""
    y = values.new_empty((len(values), matrix.shape[1]))
    at = (values.data_ptr(), matrix.data_ptr(), _at(bias), y.data_ptr(), torch.get_num_threads())
    ready().dense_across(_shape(values, matrix), *at)
    return y


def gather(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``(N, outputs)``, the sum of the columns whose inputs ``(N, inputs)`` are not zero."""
    y = x.new_empty((len(x), len(weight)))
    at = (x.data_ptr(), weight.data_ptr(), _at(bias), y.data_ptr(), torch.get_num_threads())
    ready().dense_gather(_shape(x, weight), *at)
    return y


def taps(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of inputs ``(N, inputs)`` where they are not zero, and zero elsewhere."""
    dx = torch.empty_like(x)
    at = (x.data_ptr(), gradient.data_ptr(), weight.data_ptr(), dx.data_ptr())
    ready().dense_taps(_shape(x, weight), *at, torch.get_num_threads())
    return dx


def _back(gradient: Tensor, weight: Tensor, columns: bool) -> Tensor:
    if not columns and sparse(gradient):
        dx = gradient.new_empty((len(gradient), weight.shape[1]))
        at = (gradient.data_ptr(), weight.data_ptr(), dx.data_ptr(), torch.get_num_threads())
        ready().dense_back(_shape(dx, weight), *at)
        return dx
    if len(gradient) > SMALL:
        return gradient @ weight
    return forward(gradient, weight.T) if columns else across(gradient, weight)


def update(
    rule: int,
    numbers: Numbers,
    factors: tuple[Tensor, Tensor],
    weight: Tensor,
    memory: tuple[Tensor, ...],
    rests: Tensor,
    owed: Tensor,
) -> None:
    """Move a layer's weights, and what its rule remembers of them, by the factors of their gradient.

    ``rests`` uint8: rows (of weights that lie so, columns) whose memory is zero, so that without a gradient
    nothing moves them; ``owed`` int32: decays of squares that these have yet to make (``settle``).
    """
    dense, few = factors
    assert all(own.stride() == weight.stride() for own in memory)
    first, squares = (*memory, None)[:2]
    ready().dense_update(
        *(rule, _by_ref(Dense(len(dense), dense.shape[1], few.shape[1])), ctypes.byref(numbers)),
        *(dense.data_ptr(), few.data_ptr(), weight.data_ptr(), _at(first), _at(squares)),
        *(rests.data_ptr(), owed.data_ptr(), torch.get_num_threads()),
    )


def move(
    rule: int, numbers: Numbers, gradient: Tensor, weight: Tensor, memory: tuple[Tensor, ...]
) -> None:
    """Move weights, and what their rule remembers, by a whole gradient that lies as they do: in one pass."""
    assert all(own.stride() == weight.stride() for own in (gradient, *memory))
    first, squares = (*memory, None)[:2]
    ready().dense_move(
        *(rule, ctypes.byref(numbers), weight.numel(), gradient.data_ptr(), weight.data_ptr()),
        *(_at(first), _at(squares), torch.get_num_threads()),
    )


def settle(beta2: float, squares: Tensor, owed: Tensor) -> None:
    """Make the decays that rows of squares owe: the bits of those made step by step."""
    shape = _by_ref(Dense(0, squares.numel() // len(owed), len(owed)))
    ready().dense_settle(shape, beta2, squares.data_ptr(), owed.data_ptr(), torch.get_num_threads())


def check() -> None:
    """Compare the products with torch's. Raises ``Unavailable``."""
    x, weight = drawn(7, 96), drawn(32, 96)
    expected, by_columns = x @ weight.T, weight.T.contiguous().T
    for found in (forward(x, weight), gather(x, by_columns, None), across(x, by_columns.T)):
        if not torch.allclose(found, expected, rtol=0, atol=CLOSE * float(expected.std())):
            raise Unavailable("the dense kernel computes something else on this processor")


def _shape(x: Tensor, weight: Tensor) -> Any:
    return _by_ref(Dense(len(x), weight.shape[1], weight.shape[0]))


def _by_ref(shape: Dense) -> Any:
    return ctypes.byref(shape)


def _at(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()
