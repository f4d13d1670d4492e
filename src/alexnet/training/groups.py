"""Which tensors learn at which rate, and until when: a recipe's ``[[optim.group]]``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.errors import RecipeError
from alexnet.recipe import Duration, Group, Optim

Optimizer = torch.optim.Optimizer
Groups = list[dict[str, Any]]
# Peak rate, decay, orthogonal, until, falls, drops.
Kind = tuple[float, float, bool, Duration | None, bool, tuple[Duration, ...]]


def grouped(model: nn.Module, optim: Optim) -> Groups:
    """Sort parameters into groups of equal rate and decay.

    Each group carries ``peak_lr`` (what the schedule's factor multiplies), ``weight_decay``, ``until``
    (when it is frozen, or None), ``falls`` (whether its rate goes straight to zero by then) and
    ``drops`` (when its rate falls besides the schedule). Raises ``RecipeError`` for a pattern that fits
    nothing, for a fall without an end and for a decay of what Muon moves.
    """
    names = [name for name, _ in model.named_parameters()]
    for group in optim.group:
        if not any(fnmatchcase(name, group.match) for name in names):
            raise RecipeError(
                f"optim.group match = {group.match!r} fits none of the network's tensors; "
                f"they are {', '.join(names)}"
            )
        if group.falls and not group.until:
            raise RecipeError(
                f"optim.group match = {group.match!r} has falls = true and no until, where its rate would "
                "reach zero; set e.g. until = '3 epochs'"
            )
        _refuse_decay_of_directions(model, group, optim)
    found: dict[Kind, Groups] = {}
    *_, (head, _) = model.named_children()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = _kind(name, parameter, optim, f"{head}.weight")
        found.setdefault(key, []).append({"name": name, "parameter": parameter})
    return [
        {
            "params": [m["parameter"] for m in members],
            "peak_lr": lr,
            "lr": lr,
            "weight_decay": decay,
            "orthogonal": orthogonal,
            "until": until,
            "falls": falls,
            "drops": drops,
        }
        for (lr, decay, orthogonal, until, falls, drops), members in found.items()
    ]


def _refuse_decay_of_directions(model: nn.Module, group: Group, optim: Optim) -> None:
    """Raise ``RecipeError`` for a decay of hidden kernels under Muon, whose length it sets itself."""
    *_, (head, _) = model.named_children()
    for name, parameter in model.named_parameters():
        moved = _orthogonal(name, parameter, optim, f"{head}.weight")
        if group.weight_decay and moved and fnmatchcase(name, group.match):
            raise RecipeError(
                f"optim.group match = {group.match!r} has weight_decay = {group.weight_decay:g}, but muon "
                f"sets the length of {name} at every step, so that a decay of it does nothing; take it out"
            )


def _orthogonal(name: str, parameter: Tensor, optim: Optim, head: str) -> bool:
    # Muon takes the hidden kernels; the classifier's own matrix is not one of them.
    return optim.name == "muon" and parameter.ndim > 1 and name != head


def _kind(name: str, parameter: Tensor, optim: Optim, head: str) -> Kind:
    kernel, orthogonal = parameter.ndim > 1, _orthogonal(name, parameter, optim, head)
    lr = optim.aux_lr if optim.name == "muon" and not orthogonal else optim.lr
    decay = optim.weight_decay if kernel and not orthogonal else 0.0
    for group in optim.group:
        if fnmatchcase(name, group.match):
            own = group.weight_decay
            decay = decay if own is None else own
            own_times = (group.until, group.falls, group.drops)
            return lr * group.lr_factor, decay, orthogonal, *own_times
    return lr, decay, orthogonal, None, False, ()


@torch.no_grad()
def penalty(model: nn.Module, optim: Optim) -> Tensor:
    """Return what a model's weight decay adds to the loss: half of decay times the sum of squares.

    Of one element, where the weights are. A decay of ``2c`` has the gradient of Keras's ``l2(c)``, and this is that penalty.
    """
    *_, (head, _) = model.named_children()
    total = torch.zeros((), device=next(model.parameters()).device)
    for name, parameter in model.named_parameters():
        decay = _kind(name, parameter, optim, f"{head}.weight")[1]
        if decay and parameter.requires_grad:
            total = total + decay / 2 * parameter.square().sum().to(total)
    return total


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its peak times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def drop(
    optimizer: Optimizer, step: int, factor: float, *, steps_per_epoch: int, batch: int
) -> None:
    """Give groups with times of their own the rates, just set by the schedule, that these ask for.

    Times ``factor`` for each of a group's drops that is past; one that ``falls`` leaves the schedule.
    """
    for group in optimizer.param_groups:
        if group["falls"]:
            end = group["until"].steps(steps_per_epoch=steps_per_epoch, batch=batch)
            group["lr"] = group["peak_lr"] * max(0.0, 1 - step / max(1, end))
        times = [at.steps(steps_per_epoch=steps_per_epoch, batch=batch) for at in group["drops"]]
        group["lr"] *= factor ** sum(step >= time for time in times)


def over(optimizer: Optimizer, step: int, *, steps_per_epoch: int, batch: int) -> tuple[bool, ...]:
    """Say of each group whether its time is over at ``step``, and note it there."""
    for group in optimizer.param_groups:
        until = group["until"]
        past = until and step >= until.steps(steps_per_epoch=steps_per_epoch, batch=batch)
        group["over"] = bool(past)
    return tuple(group["over"] for group in optimizer.param_groups)


def freeze(optimizer: Optimizer, step: int, *, steps_per_epoch: int, batch: int) -> None:
    """Take the gradients from the groups whose time is over: no rule then moves or decays them.

    A rate of zero would not do: what the velocity holds would still be added.
    """
    past = over(optimizer, step, steps_per_epoch=steps_per_epoch, batch=batch)
    for group, ended in zip(optimizer.param_groups, past, strict=True):
        for parameter in group["params"] if ended else ():
            parameter.grad = None
