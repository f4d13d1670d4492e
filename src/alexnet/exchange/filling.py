"""Putting named tensors into a network, row by row, and saying which rows they filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alexnet.errors import DataError
from alexnet.models.build import AlexNet


@dataclass(frozen=True)
class Filled:
    """Which rows took pretrained tensors, and why each of the others starts fresh."""

    rows: tuple[str, ...]
    fresh: Mapping[str, str]

    def in_words(self) -> str:
        """Write one line, e.g. ``filled conv1, conv2; fresh: fc8 (not there)``."""
        fresh = ", ".join(f"{row} ({why})" for row, why in self.fresh.items())
        return f"filled {', '.join(self.rows)}; fresh: {fresh or 'none'}"


@torch.no_grad()
def fill(model: AlexNet, tensors: Mapping[str, Tensor], origin: str) -> Filled:
    """Copy into ``model`` every row of which ``tensors`` holds all tensors in the same shapes.

    Names are those of our rows. Where none of them is known, and the shapes of all tensors agree in
    their order, they are taken in their order. Raises ``DataError`` if no row can be filled.
    """
    wanted = {name: layer.state_dict() for name, layer in model.named_children()}
    wanted = {name: own for name, own in wanted.items() if own}
    found = _in_order(wanted, tensors) or dict(tensors)
    fresh = {row: why for row, own in wanted.items() if (why := _misfit(row, own, found))}
    rows = tuple(row for row in wanted if row not in fresh)
    if not rows:
        raise DataError(
            f"{origin} fills no row of {model.network.name}: it holds {_some(tensors)}, but the "
            f"network has {_some({f'{r}.{k}': v for r, own in wanted.items() for k, v in own.items()})}"
        )
    for row in rows:
        for key, own in wanted[row].items():
            own.copy_(found[f"{row}.{key}"])
    return Filled(rows, fresh)


def _misfit(row: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Why a row cannot be filled; empty if it can."""
    for key, value in own.items():
        other = found.get(f"{row}.{key}")
        if other is None:
            return "not there" if key == next(iter(own)) else f"its {key} is not there"
        if other.shape != value.shape:
            return f"{tuple(other.shape)} there, {tuple(value.shape)} here"
        if not torch.isfinite(other).all():
            raise DataError(f"{row}.{key} holds values that are not numbers")
    return ""


def _in_order(
    wanted: Mapping[str, Mapping[str, Tensor]], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Name tensors by their place, for programs with names of their own; empty if that is unsure."""
    own = {f"{row}.{key}": value for row, layer in wanted.items() for key, value in layer.items()}
    shapes = [value.shape for value in own.values()]
    if own.keys() & tensors.keys() or [value.shape for value in tensors.values()] != shapes:
        return {}
    return dict(zip(own, tensors.values(), strict=True))


def _some(tensors: Mapping[str, Tensor]) -> str:
    named = [f"{name} {tuple(value.shape)}" for name, value in list(tensors.items())[:3]]
    return ", ".join(named) + (", ..." if len(tensors) > 3 else "")


def tensors_of(model: nn.Module, rows: tuple[str, ...] | list[str]) -> dict[str, Tensor]:
    """Return the tensors of some rows under their full names."""
    return {
        f"{row}.{key}": value
        for row in rows
        for key, value in model.get_submodule(row).state_dict().items()
    }
