"""Which rows of a network run as one: a convolution and what stands behind it, in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.models import epilogues, table
from alexnet.models.fused import epilogue, folding
from alexnet.models.rows import Shape

if TYPE_CHECKING:
    from alexnet.models.build import AlexNet


@dataclass(frozen=True)
class Unit(epilogues.Together):
    """Rows that run as one, and how: their convolution by torch, all else by an epilogue.

    ``inputs``: ``(C, H, W)`` of what entered them when that was planned.
    """

    inputs: Shape

    def fits(self, model: AlexNet, x: Tensor) -> bool:
        """Say whether the rows are in training, and ``x`` ``(N, C, H, W)`` small enough to index.

        And of the planned side, where a pool rounds up: at others its last window may overhang.
        """
        layers = [model.get_submodule(name) for name in self.rows]
        largest = len(x) * max(_values(model, name) for name in self.rows)
        rounds_up = getattr(layers[-1], "ceil_mode", False)
        return (
            all(layer.training for layer in layers)
            and max(largest, x.numel()) <= epilogues.LARGEST
            and (x.shape[1:] == self.inputs or not rounds_up)
        )

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
    padding, stride = int(layer.padding[0]), layer.stride[0]
    if epilogues.folds(layer.in_channels, stride, layer.groups) and not x.requires_grad:
        return folding.convolve(x, layer.weight, padding, stride, overhang)
    if overhang:
        x = F.pad(x, (0, overhang, 0, overhang))
    return F.conv2d(x, layer.weight, None, layer.stride, padding, layer.dilation, layer.groups)


def plan(model: AlexNet) -> dict[str, Unit]:
    """Return the units of a network by the name of their first row.

    None with a norm over several processes' rows (``GlobalBatchNorm``): an epilogue sums its own only.
    """
    traced = table.trace(model.network, model.size)
    entering = {step.row.name: step.inputs for step in traced}
    own = [of for of in epilogues.together(traced) if _own(model, of)]
    return {
        of.rows[0]: Unit(of.rows, of.conv, of.norm, of.what, entering[of.rows[0]]) for of in own
    }


def _own(model: AlexNet, of: epilogues.Together) -> bool:
    return of.norm is None or isinstance(model.get_submodule(of.norm), nn.BatchNorm2d)
