"""An update of large dense layers row by row, on the CPU: the rule meets the gradient where it is made.

A gradient of a dense layer is as large as its weights: written, read again by the rule. Where most gradients of
the outputs are zero, behind ReLU and dropout, a few pictures make a row's, and each piece of it is used as
soon as it is there (``models/kernels/dense.cpp``). Of a layer that reads what a ReLU gives, most inputs are zero too,
and columns take the place of rows. A row without a gradient whose memory has come down to zero
does not move: it is not touched, and its squares' decays are made when somebody looks. The numbers are torch's
rule's to float32 rounding, under the same names, so that either goes on where the other stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alexnet.models import rows
from alexnet.models.build import AlexNet
from alexnet.models.kernels import ByRows, Unavailable
from alexnet.models.kernels import dense as kernel
from alexnet.models.kernels.native import Numbers
from alexnet.models.layers import Linear
from alexnet.recipe import Optim
from alexnet.training import optim
from alexnet.training.silence import Silence

BY_ROWS = "by rows"

Group = dict[str, Any]
Rule = torch.optim.Optimizer


def way(plan: Optim, model: object, convolutions: str) -> str:
    """Say how float32 weights are to be updated on a CPU: ``by rows``, or ``torch``.

    By rows where the kernels are there and in use (``convolutions`` tells), and a layer is large enough.
    """
    if convolutions != "winograd":
        return "torch"
    if plan.name not in optim.WEIGHT_BY_WEIGHT or (plan.name == "sgd" and not plan.momentum):
        return "torch"
    try:
        kernel.check()
        found = isinstance(model, AlexNet) and _large(model)
    except Unavailable as reason:
        return f"torch ({reason})"
    return BY_ROWS if found else "torch"


def _large(model: AlexNet, watched: Linear | None = None) -> dict[str, bool]:
    """Return the large dense layers of a network by name, and whether each is looked at by columns.

    Those that read what a ReLU gives; not the one that is ``watched``: a silent unit is a row.
    """
    kinds = {row.name: row for row in model.network.rows}
    found = {}
    for (name, layer), read in zip(model.named_children(), model.reads, strict=True):
        if isinstance(layer, Linear):
            source = kinds.get(read[0])
            if isinstance(source, rows.Dropout):
                source = kinds.get(model.reads[model.network.rows.index(source)][0])
            columns = isinstance(source, rows.ReLU) and layer is not watched
            if kernel.suits(layer, columns=columns):
                found[name] = columns
    return found


class _Followed:
    """A layer, its rows (or columns) at rest, and the decays of squares that these owe: ``kernel.update``."""

    def __init__(self, layer: Linear, *, columns: bool) -> None:
        self.kept = layer.by_rows = ByRows(columns)
        if columns:
            kernel.lay_out(layer.weight)
        count = layer.in_features if columns else layer.out_features
        self.rests = torch.zeros(count, dtype=torch.uint8)
        self.owed = torch.zeros(count, dtype=torch.int32)


class RowUpdate:
    """The large dense layers of a network in training; ``step`` moves them, and torch's rule all else."""

    def __init__(self, model: AlexNet, silence: Silence | None = None) -> None:
        self._layers: dict[Tensor, _Followed] = {}  # by their weights
        for name, columns in _large(model, silence.layer if silence else None).items():
            layer = model.get_submodule(name)
            assert isinstance(layer, Linear)
            self._layers[layer.weight] = _Followed(layer, columns=columns)
        self._silence = silence
        if silence is not None:
            silence.begin()

    @torch.no_grad()
    def step(self, rule: Rule) -> None:
        """Move the weights of all groups by a step of ``rule``, and forget the gradients."""
        found = [(*its, self._layers[its[1]].kept.take()) for its in self._weights(rule)]
        rule.step()  # which finds no gradients of these
        for group, weight, factors in found:
            if factors is not None and not group.get("over"):
                self._move(rule, group, weight, factors)
        rule.zero_grad(set_to_none=True)
        if self._silence is not None:
            self._silence.see(rule, self._layers[self._silence.layer.weight].rests)

    def _move(
        self, rule: Rule, group: Group, weight: Tensor, factors: tuple[Tensor, Tensor]
    ) -> None:
        """Meet a gradient piece by piece where most of it is zero; else make it whole first."""
        of = self._layers[weight]
        number, numbers, memory = NUMBERS[type(rule)](rule, group, weight)
        if kernel.sparse(factors[1]):
            kernel.update(number, numbers, factors, weight, memory, of.rests, of.owed)
        else:
            self._settle(rule, group, weight)
            of.rests.zero_()
            kernel.move(number, numbers, of.kept.gradient(factors), weight, memory)
        group.pop("taken", None)  # KerasAdam counts anew from the steps of its weights

    def _weights(self, rule: Rule) -> list[tuple[Group, Tensor]]:
        return [
            (group, weight)
            for group in rule.param_groups
            for weight in group["params"]
            if weight in self._layers
        ]

    @torch.no_grad()
    def settle(self, rule: Rule) -> None:
        """Bring what the rule remembers up to date, for whoever is to read it."""
        for group, weight in self._weights(rule):
            self._settle(rule, group, weight)

    def _settle(self, rule: Rule, group: Group, weight: Tensor) -> None:
        squares = rule.state.get(weight, {}).get("exp_avg_sq")
        if squares is not None:
            kernel.settle(group["betas"][1], squares, self._layers[weight].owed)


Step = tuple[int, Numbers, tuple[Tensor, ...]]  # the kernel's rule, its numbers, what is remembered


def _adam(rule: Rule, group: Group, weight: Tensor) -> Step:
    steps = optim.steps_of(rule, weight)
    steps += 1
    taken, (beta1, beta2) = int(steps), group["betas"]
    root = math.sqrt(1 - beta2**taken)
    keras = isinstance(rule, optim.KerasAdam)
    numbers = Numbers(
        lr=group["lr"] / (1 - beta1**taken),
        decay=group["weight_decay"],
        beta1=beta1,
        rest1=1 - beta1,
        beta2=beta2,
        rest2=1 - beta2,
        eps=group["keras_eps"] / root if keras else group["eps"],
        root=root,
    )
    return 0, numbers, tuple(optim.memory(rule, weight, key) for key in ("exp_avg", "exp_avg_sq"))


def _sgd(rule: Rule, group: Group, weight: Tensor) -> Step:
    keras = isinstance(rule, optim.KerasSGD)
    numbers = Numbers(
        lr=group["lr"],
        decay=group["weight_decay"],
        momentum=group["momentum"],
        eps=1,  # of no use here, but that a row may rest
        nesterov=int(group["nesterov"]),
    )
    key = "velocity" if keras else "momentum_buffer"
    return 2 if keras else 1, numbers, (optim.memory(rule, weight, key),)


NUMBERS: dict[type, Callable[[Rule, Group, Tensor], Step]] = {
    torch.optim.Adam: _adam,
    optim.KerasAdam: _adam,
    torch.optim.SGD: _sgd,
    optim.KerasSGD: _sgd,
}
