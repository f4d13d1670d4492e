"""A table made ready for pretrained weights: another head, frozen rows, the part that runs once.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from alexnet.errors import RecipeError
from alexnet.models import kernel_machine
from alexnet.models.rows import AdaptiveAvgPool, BatchNorm, Dense, Dropout, Flatten, ReLU, Row
from alexnet.models.table import Network, Traced


def adapted(
    network: Network,
    *,
    pool: int = 0,
    head: Iterable[int] | None = None,
    head_norm: bool = False,
    kernel: float = 0.0,
    dropout: float | None = None,
    init: str = "",
    examples: int = 1,
) -> Network:
    """Return the table changed by the keys of a recipe's ``[model]``; at their defaults, as it is.

    ``examples``: the training pictures, which a kernel machine keeps.
    """
    if pool:
        network = with_pool(network, pool)
    if head is not None:
        network = with_head(network, head, dropout, norm=head_norm)
    if kernel:
        network = with_kernel(network, kernel, examples)
    return network.changed(init=init, dropout=dropout)


def with_head(
    network: Network, widths: Iterable[int], dropout: float | None = None, *, norm: bool = False
) -> Network:
    """Return the table with the dense layers behind its ``Flatten`` replaced by a new head.

    ``widths`` are the outputs of the hidden layers, each with a ReLU; ``()`` is a linear classifier.
    ``dropout`` is the rate before every dense layer (None or 0: no dropout); ``norm`` puts a batch
    norm before every ReLU, in place of that dense layer's bias. The rows are called ``head1``,
    ``head2``, ..., so that no pretrained tensor is mistaken for theirs. Raises ``RecipeError`` for a
    table without ``Flatten``.
    """
    *hidden, last = (*widths, network.classes)
    head: list[Row] = []
    for n, units in enumerate(hidden, start=1):
        head += [*_drop(n, dropout), Dense(f"head{n}", units=units, bias=not norm)]
        head += [BatchNorm(f"headnorm{n}")] if norm else []
        head += [ReLU(f"headrelu{n}")]
    n = len(hidden) + 1
    head += [*_drop(n, dropout), Dense(f"head{n}", units=last)]
    return replace(network, rows=(*_up_to_flatten(network), *head))


def with_kernel(network: Network, gamma: float, examples: int) -> Network:
    """Return the table with a kernel machine in place of the dense layers behind its ``Flatten``.

    ``examples``: the training pictures that it keeps. Raises ``RecipeError`` as ``with_head`` does.
    """
    behind = kernel_machine.rows(examples, network.classes, gamma)
    return replace(network, rows=(*_up_to_flatten(network), *behind))


def with_pool(network: Network, side: int) -> Network:
    """Return the table with its last maps averaged to ``side`` x ``side`` before ``Flatten``.

    In place of the adaptive pool that stands there, or as one of its own. Dense layers behind it then have
    other widths. Raises ``RecipeError`` for a table without ``Flatten``.
    """
    *before, flatten = _up_to_flatten(network)
    behind = network.rows[len(before) + 1 :]
    name = "avgpool"
    if isinstance(before[-1], AdaptiveAvgPool):
        name = before.pop().name
    pool = AdaptiveAvgPool(name, side=side)
    return replace(network, rows=(*before, pool, flatten, *behind))


def _drop(n: int, rate: float | None) -> list[Row]:
    return [Dropout(f"headdrop{n}", p=rate)] if rate else []


def _up_to_flatten(network: Network) -> tuple[Row, ...]:
    for n, row in enumerate(network.rows, start=1):
        if isinstance(row, Flatten):
            return network.rows[:n]
    raise RecipeError(
        f"model.head, model.kernel and model.pool change what stands around Flatten, but {network.name} "
        "has no such row"
    )


def frozen_rows(network: Network, patterns: Iterable[str]) -> frozenset[str]:
    """Return the names of the rows that any of the patterns fits, e.g. ``conv*``.

    Raises ``RecipeError`` for a pattern that fits none.
    """
    names = [row.name for row in network.rows]
    found: set[str] = set()
    for pattern in patterns:
        fits = {name for name in names if fnmatchcase(name, pattern)}
        if not fits:
            raise RecipeError(
                f"model.frozen = {pattern!r} fits no row of {network.name}; "
                f"its rows are {', '.join(names)}"
            )
        found |= fits
    return frozenset(found)


def fixed_rows(steps: Iterable[Traced], frozen: frozenset[str]) -> int:
    """Count the leading rows whose output for a picture never changes while the rest is trained.

    Frozen rows, and between them rows that hold no values and draw no chance. 0 where none of them
    is frozen: there is nothing to gain then.
    """
    count, gained = 0, False
    for step in steps:
        row = step.row
        holds = step.parameters + step.buffers > 0 or isinstance(row, Dropout)
        if holds and row.name not in frozen:
            break
        count, gained = count + 1, gained or step.parameters > 0
    return count if gained else 0


def training_multiply_adds(steps: Iterable[Traced], frozen: frozenset[str], first: int) -> int:
    """Return the multiply-adds of training on one picture: forward and backward is three passes.

    One where nothing is learned, none for the ``first`` rows, which ran once before.
    """
    return sum(
        s.multiply_adds * (1 if s.row.name in frozen else s.passes) for s in list(steps)[first:]
    )
