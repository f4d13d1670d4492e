"""Which rows of a network run as one: a convolution and what stands behind it, in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.models.fused import epilogue, folding
from alexnet.models.fused.epilogue import LARGEST, Epilogue

if TYPE_CHECKING:
    from alexnet.models.build import AlexNet

EIGHTHS = 8  # tensor cores want channels by the eight


@dataclass(frozen=True)
class Unit:
    """Rows that run as one: ``conv`` (None: begins with the map as it is), norm and epilogue."""

    rows: tuple[str, ...]
    conv: str | None
    norm: str | None
    what: Epilogue

    def fits(self, model: AlexNet, x: Tensor) -> bool:
        """Say whether the rows are in training, and ``x`` ``(N, C, H, W)`` small enough to index."""
        layers = [model.get_submodule(name) for name in self.rows]
        largest = len(x) * max(_values(model, name) for name in self.rows)
        return all(layer.training for layer in layers) and max(largest, x.numel()) <= LARGEST

    def __call__(self, model: AlexNet, x: Tensor) -> Tensor:
        """Return what the last of the rows would, for what enters the first."""
        bias = None
        if self.conv is not None:
            layer = model.get_submodule(self.conv)
            assert isinstance(layer, nn.Conv2d)
            x, bias = convolved(layer, x), layer.bias
        norm = None if self.norm is None else model.get_submodule(self.norm)
        assert norm is None or isinstance(norm, nn.BatchNorm2d)
        return epilogue.apply(x, bias, norm, self.what)


def _values(model: AlexNet, name: str) -> int:
    return torch.Size(model.shapes[name]).numel()


def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve ``(N, C, H, W)`` without the bias; pictures by a strided layer are folded first."""
    overhang = int(getattr(layer, "overhang", 0))
    if overhang:
        x = F.pad(x, (0, overhang, 0, overhang))
    padding, stride = int(layer.padding[0]), layer.stride[0]
    folds = stride > 1 and layer.groups == 1 and layer.in_channels * stride**2 % EIGHTHS == 0
    if folds and layer.in_channels < EIGHTHS and not x.requires_grad:
        return folding.convolve(x, layer.weight, padding, stride)
    return F.conv2d(x, layer.weight, None, layer.stride, padding, layer.dilation, layer.groups)


def plan(model: AlexNet) -> dict[str, Unit]:
    """Return the units of a network by the name of their first row.

    Of a row that is read again further down, a unit may only end with it: what it returns is kept.
    """
    names, units = [name for name, _ in model.named_children()], {}
    at = 0
    while at < len(names):
        unit = _grown(model, names, at)
        if unit is not None:
            units[names[at]] = unit
        at += 1 if unit is None else len(unit.rows)
    return units


def _grown(model: AlexNet, names: list[str], at: int) -> Unit | None:
    """Return the longest unit that begins with row ``at``; None where there is none."""
    first = model.get_submodule(names[at])
    conv = names[at] if isinstance(first, nn.Conv2d) else None
    unit = Unit((conv,) if conv else (), conv, None, Epilogue())
    for position in range(at + bool(conv), len(names)):
        name, row = names[position], position - at
        if row and (
            names[position - 1] in model.held or model.reads[position] != (names[position - 1],)
        ):
            break
        longer = _with(model, unit, name, names[position - 1] if position else "")
        if longer is None:
            break
        unit = longer
    behind = set(unit.rows) - {unit.conv}
    return unit if behind and (unit.conv or not _only_relu(unit)) else None


def _only_relu(unit: Unit) -> bool:
    return unit.norm is None and unit.what.pool == (1, 1)


def _with(model: AlexNet, unit: Unit, name: str, before: str) -> Unit | None:
    """Return a unit with one row more, where an epilogue has a place for it."""
    layer, what = model.get_submodule(name), unit.what
    if what.pool != (1, 1):
        return None  # nothing comes behind a pool
    grown = replace(unit, rows=(*unit.rows, name))
    for kind, step in STEPS.items():
        if isinstance(layer, kind):
            return step(model, grown, layer, name, before)
    return None


def _with_relu(model: AlexNet, unit: Unit, layer: nn.Module, name: str, before: str) -> Unit | None:
    what = unit.what
    if what.activation or (what.relu and not what.norm):
        return None
    if what.norm:
        return replace(unit, what=replace(what, activation="relu"))
    return replace(unit, what=replace(what, relu=True))


def _with_gelu(model: AlexNet, unit: Unit, layer: nn.Module, name: str, before: str) -> Unit | None:
    what = unit.what
    plain = isinstance(layer, nn.GELU) and layer.approximate == "none"
    if what.activation or not plain or (what.relu and not what.norm):
        return None
    return replace(unit, what=replace(what, activation="gelu"))


def _with_norm(model: AlexNet, unit: Unit, layer: nn.Module, name: str, before: str) -> Unit | None:
    what = unit.what
    assert isinstance(layer, nn.BatchNorm2d)
    if what.norm or what.activation or layer.momentum is None or layer.bias is None:
        return None
    return replace(unit, norm=name, what=replace(what, norm=True))


def _with_pool(model: AlexNet, unit: Unit, layer: nn.Module, name: str, before: str) -> Unit | None:
    assert isinstance(layer, nn.MaxPool2d)
    side, stride = layer.kernel_size, layer.stride
    assert isinstance(side, int)
    assert isinstance(stride, int)
    if layer.padding != 0 or layer.dilation != 1 or before not in model.shapes:
        return None
    pool = (side, stride)
    what = replace(unit.what, pool=pool)
    _, height, width = model.shapes[before]
    same = what.sides(height, width) == tuple(model.shapes[name][1:])
    return replace(unit, what=what) if same and 1 < pool[0] <= 15 else None


Step = Callable[["AlexNet", Unit, nn.Module, str, str], Unit | None]
STEPS: dict[type[nn.Module], Step] = {
    nn.ReLU: _with_relu,
    nn.GELU: _with_gelu,
    nn.BatchNorm2d: _with_norm,
    nn.MaxPool2d: _with_pool,
}
