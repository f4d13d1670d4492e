"""From a table to a ``torch.nn.Module``.

A module's tensors are named after the rows (``conv1.weight``, ``norm1.running_mean``, ``fc8.bias``),
so a table is also the documentation of a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from alexnet.errors import UnknownName
from alexnet.models import kernel_machine, rows, table, wiring
from alexnet.models.init import initialise, whiten
from alexnet.models.layers import (
    BiasedBatchNorm2d,
    Conv2d,
    Dropout,
    ExactLinear,
    Gaussian,
    Linear,
    LocallyConnected2d,
    PaperConv2d,
    RootNorm,
    Sum,
)
from alexnet.models.packing import unpack
from alexnet.models.pools import AdaptiveAvgPool2d, AvgPool2d
from alexnet.models.response_norms import LocalResponseNorm, MapResponseNorm
from alexnet.models.rows import Row, Shape
from alexnet.models.table import Network

if TYPE_CHECKING:
    from alexnet.models.fused.units import Unit


class AlexNet(nn.Module):
    """A network of the family, built from its table for one picture size.

    Input: float ``(N, 3, size, size)``; output: logits ``(N, classes)``. No softmax layer: losses
    and predictions take logits.
    """

    def __init__(self, network: Network, size: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.size = network.size if size is None else size
        self.frozen: frozenset[str] = frozenset()
        self.reads = wiring.sources(network.rows)
        self.held = wiring.held(network.rows)  # what is read again further down
        self.units: dict[str, Unit] = {}  # rows that run as one (fused.use), by the first of them
        self.shapes: dict[str, Shape] = {}
        for step in table.trace(network, self.size):
            self.add_module(step.row.name, LAYERS[type(step.row)](step.row, step.inputs))
            self.shapes[step.row.name] = step.outputs
        if self.held:
            _spare_inputs(self)

    def forward(self, pictures: Tensor, first: int = 0) -> Tensor:
        """Return logits ``(N, classes)`` for pictures ``(N, 3, size, size)``.

        ``first``: the number of the row to begin with, for inputs that are what enters the rows from
        there on: one map, or several as ``packing`` lays them side by side.
        """
        x, kept = pictures, self._entering(pictures, first)
        rows = iter(list(zip(self.named_children(), self.reads, strict=True))[first:])
        for (name, layer), read in rows:
            entering = [kept.get(source, x) for source in read]
            unit = self.units.get(name)
            if unit is not None and unit.fits(self, entering[0]):
                x, name = unit(self, entering[0]), unit.rows[-1]
                list(islice(rows, len(unit.rows) - 1))  # these have run
            else:
                x = layer(*entering)
            if name in self.held:
                kept[name] = x
        return x

    def _entering(self, x: Tensor, first: int) -> dict[str, Tensor]:
        """Return what rows from ``first`` on read of those before, by name."""
        names = wiring.entering(self.network.rows, first)
        if len(names) == 1:
            return {names[0]: x}
        return dict(zip(names, unpack(x, [self.shapes[name] for name in names]), strict=True))

    def freeze(self, names: Iterable[str]) -> None:
        """Train these rows no more: no gradients, and norms and dropout as in evaluation."""
        self.frozen = frozenset(names)
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> AlexNet:
        """Switch to training, or to evaluation; frozen rows stay in evaluation."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def activations(self, pictures: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the output of each named row, e.g. ``("conv5", "fc7")``; stops after the last.

        Raises ``UnknownName`` for a row that is not in the table.
        """
        wanted = set(names)
        for unknown in wanted - dict(self.named_children()).keys():
            raise UnknownName(f"layer of {self.network.name}", unknown, dict(self.named_children()))
        found: dict[str, Tensor] = {}
        x, kept = pictures, self._entering(pictures, 0)
        for (name, layer), read in zip(self.named_children(), self.reads, strict=True):
            if found.keys() == wanted:
                break
            x = layer(*[kept.get(source, x) for source in read])
            if name in self.held:
                kept[name] = x
            if name in wanted:
                found[name] = x.clone()  # the next ReLU works in place
        return found


def _spare_inputs(model: nn.Module) -> None:
    """Let no ReLU work in place: what it would overwrite may be read again, also through a view."""
    for layer in model.children():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False


def _conv(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.Conv)
    sizes = (shape[0], row.channels, row.kernel, row.stride, row.padding)
    if row.groups == 1 and not row.ceil:
        whole = Conv2d(*sizes, bias=row.bias)
        whole.weight.requires_grad_(not row.whitening)
        return whole
    layer = PaperConv2d(*sizes, groups=row.groups, bias=row.bias)
    covered = (row.out(shape)[1] - 1) * row.stride + row.kernel
    layer.overhang = max(0, covered - shape[1] - 2 * row.padding) if row.ceil else 0
    return layer


def _max_pool(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.MaxPool)
    return nn.MaxPool2d(row.kernel, row.stride, row.padding, ceil_mode=row.ceil)


def _avg_pool(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.AvgPool)
    return AvgPool2d(row.kernel, row.stride, row.padding, ceil=row.ceil)


def _adaptive_pool(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.AdaptiveAvgPool)
    return AdaptiveAvgPool2d(row.side)


def _local(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.Local)
    return LocallyConnected2d(shape, row.out(shape), row.kernel, row.stride, row.padding)


def _batch_norm(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.BatchNorm)
    kind = (
        nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d if row.unbiased else BiasedBatchNorm2d
    )
    layer = kind(shape[0], eps=row.eps, momentum=row.momentum)
    layer.weight.requires_grad_(row.scale)
    return layer


def _lrn(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.LRN)
    return LocalResponseNorm(row.size, row.alpha, row.beta, row.k, row.towers)


def _map_norm(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.MapNorm)
    return MapResponseNorm(row.size, row.alpha, row.beta)


def _dense(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.Dense)
    return Linear(shape[0], row.units, bias=row.bias)


def _exact_dense(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.Dense)
    return ExactLinear(shape[0], row.units, bias=row.bias)


def _examples(row: Row, shape: Shape) -> nn.Module:
    return _exact_dense(row, shape).requires_grad_(False)


def _gaussian(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, kernel_machine.Gaussian)
    return Gaussian(row.gamma)


def _dropout(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, rows.Dropout)
    return Dropout(row.p, classic=row.classic)


LAYERS: dict[type[Row], Callable[[Row, Shape], nn.Module]] = {
    rows.Conv: _conv,
    rows.Local: _local,
    rows.MaxPool: _max_pool,
    rows.AvgPool: _avg_pool,
    rows.AdaptiveAvgPool: _adaptive_pool,
    rows.BatchNorm: _batch_norm,
    rows.LRN: _lrn,
    rows.MapNorm: _map_norm,
    rows.ReLU: lambda row, shape: nn.ReLU(inplace=True),
    rows.GELU: lambda row, shape: nn.GELU(),
    rows.Flatten: lambda row, shape: nn.Flatten(),
    rows.Dense: _dense,
    rows.Dropout: _dropout,
    kernel_machine.RootNorm: lambda row, shape: RootNorm(),
    kernel_machine.Examples: _examples,
    kernel_machine.Gaussian: _gaussian,
    kernel_machine.ExactDense: _exact_dense,
    wiring.Add: lambda row, shape: Sum(),
}


def whiten_first(model: AlexNet, pictures: Tensor) -> None:
    """Set the filters of every ``whitening`` row from preprocessed pictures ``(N, 3, H, W)``."""
    for row in model.network.rows:
        if isinstance(row, rows.Conv) and row.whitening:
            layer = model.get_submodule(row.name)
            assert isinstance(layer, nn.Conv2d)
            whiten(layer, pictures)


def begin_step(
    model: nn.Module, *, seed: int, step: int, first: int = 0, total: int | None = None
) -> None:
    """Give every dropout the mask of this step: a function of (seed, step, name of the layer).

    ``first`` and ``total`` say which rows of the whole batch this process holds (default: all).
    Nothing else is drawn in a forward pass.
    """
    for name, layer in (
        model.named_children() if isinstance(model, AlexNet) else model.named_modules()
    ):
        if isinstance(layer, Dropout):
            digest = hashlib.sha256(f"{seed}:{step}:{name}".encode()).digest()
            layer.begin(int.from_bytes(digest[:8], "little") >> 1, first, total)


def draw_masks(model: AlexNet, count: int, device: torch.device) -> None:
    """Draw the masks of the step that began, for ``count`` pictures, before they run forward.

    The same masks that the layers would draw themselves, for a forward pass that is compiled.
    """
    for name, layer in model.named_children():
        if isinstance(layer, Dropout) and layer.training and layer.dropped:
            layer.draw(torch.Size((count, *model.shapes[name])), device)


def keep_dropping(model: nn.Module, *, seed: int, step: int) -> None:
    """Let dropout alone behave as in training, with the masks of this step (``begin_step``)."""
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.train()
    begin_step(model, seed=seed, step=step)


def unfilled(network: Network, size: int | None = None) -> AlexNet:
    """Build a network whose tensors are still to be assigned: to fill 58 million takes a second.

    They are on torch's ``meta`` device, without memory. Raises ``TooSmall``.
    """
    with torch.device("meta"):
        return AlexNet(network, size)


def build(network: Network, size: int | None = None, *, seed: int = 0) -> AlexNet:
    """Build and initialise a network; the same seed gives the same weights.

    ``size`` is the side of the pictures (default: the network's own). Raises ``TooSmall``.
    """
    model = AlexNet(network, size)
    initialise(model, network.init, torch.Generator().manual_seed(seed))
    return model
