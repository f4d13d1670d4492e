"""Two towers on two devices, as in 2012: one device's half of a network.

``swap`` is the only thing that a half knows of the other: it gives a tensor and returns the other
half's, of the same shape. ``models.split`` says where it is called and what for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from alexnet.models.build import LAYERS
from alexnet.models.rows import LRN
from alexnet.models.split import Half, halves, reach
from alexnet.models.table import Network

Swap = Callable[[Tensor], Tensor]


class Tower(nn.Module):
    """Half of a two-tower network: ``tower`` 0 or 1, with the names of the full network's tensors.

    Input: float ``(N, 3, size, size)``, the same on both devices; output: logits ``(N, classes)``,
    the same on both.
    """

    def __init__(self, network: Network, size: int | None, tower: int, swap: Swap) -> None:
        super().__init__()
        self.network = network
        self.size = network.size if size is None else size
        self.tower, self.swap, self.halves = tower, swap, halves(network, size)
        for half in self.halves:
            self.add_module(half.row.name, LAYERS[type(half.row)](half.row, half.inputs))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits ``(N, classes)`` for pictures ``(N, 3, size, size)``."""
        x = pictures
        for half, layer in zip(self.halves, self.children(), strict=True):
            x = self._run(half, layer, x)
        return x

    def _run(self, half: Half, layer: nn.Module, x: Tensor) -> Tensor:
        if half.exchange == "border":
            assert isinstance(half.row, LRN)
            return self._normalise(layer, x, reach(half.row))
        if half.exchange:
            x = cast("Tensor", _Join.apply(x, self, half.exchange == "share"))  # type: ignore[no-untyped-call]
        y: Tensor = layer(x)
        return y

    def _normalise(self, layer: nn.Module, x: Tensor, wide: int) -> Tensor:
        """Normalise half of the channels beside ``wide`` of the other half's."""
        seen = cast("Tensor", _Border.apply(x, self, wide))  # type: ignore[no-untyped-call]
        y: Tensor = layer(seen)
        return y[:, :-wide] if self.tower == 0 else y[:, wide:]


class _Join(torch.autograd.Function):
    """Both halves side by side. ``summed``: the other device uses ours too, and has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tower: Tower, summed: bool) -> Tensor:
        ctx.tower, ctx.summed = tower, summed
        return _in_order(x, _like(tower.swap(x), x), tower.tower)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        halves_ = gradient.chunk(2, 1)
        mine = halves_[ctx.tower.tower]
        if ctx.summed:
            mine = mine + ctx.tower.swap(halves_[1 - ctx.tower.tower])
        return mine, None, None


class _Border(torch.autograd.Function):
    """A half with the ``wide`` channels of the other half that lie next to it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tower: Tower, wide: int) -> Tensor:
        ctx.tower, ctx.wide = tower, wide
        edge = x[:, -wide:] if tower.tower == 0 else x[:, :wide]
        return _in_order(x, _like(tower.swap(edge), x), tower.tower)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        wide, first = ctx.wide, ctx.tower.tower == 0
        theirs = gradient[:, -wide:] if first else gradient[:, :wide]
        mine = (gradient[:, :-wide] if first else gradient[:, wide:]).clone()
        (mine[:, -wide:] if first else mine[:, :wide]).add_(ctx.tower.swap(theirs))
        return mine, None, None


def _in_order(mine: Tensor, theirs: Tensor, tower: int) -> Tensor:
    return torch.cat([mine, theirs] if tower == 0 else [theirs, mine], 1)


def _like(received: Tensor, x: Tensor) -> Tensor:
    """Lay maps out channels last, as they are everywhere; the wire knows one order only."""
    return received.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else received


def split(tensors: Mapping[str, Tensor], network: Network, tower: int) -> dict[str, Tensor]:
    """Return one device's part of a full network's tensors, weights or what a rule remembers of them.

    Names begin with a row's; a tensor without axes (a count of steps) belongs to both.
    """
    rows = _halved(network)
    return {
        name: tensor.chunk(2)[tower].clone() if _row(name) in rows and tensor.ndim else tensor
        for name, tensor in tensors.items()
    }


def join(
    parts: tuple[Mapping[str, Tensor], Mapping[str, Tensor]], network: Network
) -> dict[str, Tensor]:
    """Return the full network's tensors of two devices' parts: ``split`` the other way round."""
    rows = _halved(network)
    first, second = parts
    return {
        name: torch.cat([tensor, second[name]]) if _row(name) in rows and tensor.ndim else tensor
        for name, tensor in first.items()
    }


def _halved(network: Network) -> set[str]:
    return {half.row.name for half in halves(network) if half.halved}


def _row(name: str) -> str:
    return name.partition(".")[0]
