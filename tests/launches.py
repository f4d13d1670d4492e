"""What a network would launch on a GPU, noted in place of being run: on torch's ``meta`` device."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from compiled_for_gpus import Case
from torch import Tensor, nn

from alexnet.models import epilogues, rows, zoo
from alexnet.models.build import AlexNet, unfilled
from alexnet.models.fused import epilogue, folding, response_norm, units

META = torch.device("meta")
TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.uint8: "*u8"}
SIDES = {"H", "W", "OH", "OW"}  # of maps: what is compiled differs in numbers alone


class _Noted:
    """In the place of a module of kernels: ``noted.forward[grid](...)`` is kept as a case."""

    def __init__(self, module: ModuleType, found: list[Case]) -> None:
        self.module, self.found = module, found

    def __getattr__(self, name: str) -> _Noted:
        noted = _Noted(self.module, self.found)
        noted.name = name
        return noted

    def __getitem__(self, grid: tuple[int, ...]) -> _Noted:
        return self

    def __call__(self, *of: Any, **named: Any) -> None:
        kernel = getattr(self.module, self.name)
        warps = named.pop("num_warps", 4)
        signature = inspect.signature(kernel.fn)
        arguments = signature.bind(*of, **named).arguments
        fixed = {n for n, p in signature.parameters.items() if p.annotation == "tl.constexpr"}
        # As Triton does: a number that is 1 is a constant, and one that 16 divides is known to be.
        fixed |= {n for n, value in arguments.items() if type(value) is int and value == 1}
        types = {n: _type(value) for n, value in arguments.items() if n not in fixed}
        constants = {n: arguments[n] for n in fixed}
        divided = {n for n, t in types.items() if t == "i32" and arguments[n] % 16 == 0}
        case = Case(
            self.module.__name__, self.name, types, constants, tuple(sorted(divided)), warps
        )
        self.found.append(case)


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return TYPES[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


@contextmanager
def _noting() -> Iterator[list[Case]]:
    found: list[Case] = []
    places = (epilogue, folding, response_norm)
    kept = [place.kernels for place in places]
    for place in places:
        place.kernels = _Noted(place.kernels, found)
    try:
        yield found
    finally:
        for place, kernels in zip(places, kept, strict=True):
            place.kernels = kernels


def launches(name: str, batch: int) -> list[Case]:
    """Return every launch of one of the zoo's networks, forward and backward, in bf16."""
    model = unfilled(zoo.network(name)).train()
    with _noting() as found:
        for unit in units.plan(model).values():
            _unit(model, unit, batch)
        for row in model.network.rows:
            layer = model.get_submodule(row.name)
            if isinstance(row, rows.LRN):
                layer.fused = True
                layer(_map(model, row.name, batch)).sum().backward()
            if isinstance(row, rows.Conv) and _folds(layer):
                weight = torch.empty_like(layer.weight, dtype=torch.bfloat16)
                pictures = torch.empty(batch, model.size, model.size, 3, device=META).permute(
                    0, 3, 1, 2
                )
                padding = int(layer.padding[0])
                folding.fold(pictures, padding, layer.stride[0], weight.shape[2], weight.dtype)
    return found


def _folds(layer: nn.Module) -> bool:
    return epilogues.folds(layer.in_channels, layer.stride[0], layer.groups)


def _unit(model: AlexNet, unit: units.Unit, batch: int) -> None:
    conv = None if unit.conv is None else model.get_submodule(unit.conv)
    bias = None if conv is None or conv.bias is None else conv.bias.detach().bfloat16()
    norm = None if unit.norm is None else model.get_submodule(unit.norm)
    names = list(model.shapes)
    before = unit.conv or names[names.index(unit.rows[0]) - 1]
    z = _map(model, before, batch)
    epilogue.apply(z, bias, norm, unit.what).sum().backward()


def _map(model: AlexNet, name: str, batch: int) -> Tensor:
    z = torch.empty(batch, *model.shapes[name], dtype=torch.bfloat16, device=META)
    return z.to(memory_format=torch.channels_last).requires_grad_()


def distinct(cases: list[Case]) -> list[Case]:
    """Return the first of all that differ in more than the sides of their maps."""
    found: dict[str, Case] = {}
    for case in cases:
        flags = {n: v for n, v in case.constants.items() if n not in SIDES}
        key = f"{case.module}.{case.kernel} {sorted(flags.items())} {case.types} {case.divisible}"
        found.setdefault(key, case)
    return list(found.values())
