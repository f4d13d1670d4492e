"""Update rules with the semantics that the recipe names.

Keras and torch mean different things by the same words (facts measured against Keras 3.15):
Keras's SGD keeps the learning rate inside the velocity, so a change of rate acts on the gradients
to come and not on those already in it; Keras's Adam adds epsilon before the bias correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.errors import CheckpointError
from alexnet.recipe import Optim
from alexnet.training.groups import Groups, grouped
from alexnet.training.muon import Muon
from alexnet.training.rmsprop import KerasRMSprop

Optimizer = torch.optim.Optimizer


def make(model: nn.Module, optim: Optim) -> Optimizer:
    """Build the optimiser that a recipe asks for over a model's parameters.

    Of ``ridge``, which solves and takes no step, one that is never called.
    """
    if optim.name == "ridge":
        return torch.optim.SGD(grouped(model, optim))
    return RULES[optim.name](grouped(model, optim), optim)


class KerasSGD(Optimizer):
    """SGD with the rate inside the velocity: ``v = m*v - lr*(g + decay*w); w += v``.

    Without ``nesterov`` (``w += m*v - lr*g``) this is the rule of 2012 (paper, section 5; weights.cu
    of the program).
    """

    def __init__(self, params: Groups, momentum: float, nesterov: bool) -> None:
        super().__init__(params, {"momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            lr, m = group["lr"], group["momentum"]
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            steps = _decayed(params, group["weight_decay"])
            torch._foreach_mul_(steps, -lr)
            velocity = [memory(self, p, "velocity") for p in params]
            torch._foreach_mul_(velocity, m)
            torch._foreach_add_(velocity, steps)
            torch._foreach_add_(params, velocity, alpha=m if group["nesterov"] else 1.0)
            if group["nesterov"]:
                torch._foreach_add_(params, steps)


class KerasAdam(torch.optim.Adam):
    """Adam whose epsilon is added before the bias correction, as in Keras and in the Adam paper's
    efficient form: torch's rule with ``eps / sqrt(1 - beta2**t)`` at step t.

    Where the rates are tensors, of a step that is replayed, both corrections are in them (``rate_of``).
    """

    LATE = 1e9  # a step at which torch's own corrections are 1

    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        if any(isinstance(group["lr"], Tensor) for group in self.param_groups):
            return self._step_by_tensors()
        for group in self.param_groups:
            taken = self._count(group, any(p.grad is not None for p in group["params"]))
            if not taken:
                continue  # nothing of it was ever moved
            group["eps"] = group["keras_eps"] / math.sqrt(1 - group["betas"][1] ** taken)
        return super().step(closure)

    def rate_of(self, group: dict[str, Any]) -> float:
        """Return a group's rate with the corrections of its coming step, which is counted here."""
        taken = self._count(group, not group.get("over"))
        beta1, beta2 = group["betas"]
        corrected = math.sqrt(1 - beta2**taken) / (1 - beta1**taken) if taken else 0.0
        return float(group["lr"] * corrected)

    def _count(self, group: dict[str, Any], moves: bool) -> int:
        if "taken" not in group:  # counted here from then on: of a GPU, reading it is a wait
            taken = [int(self.state[p]["step"]) for p in group["params"] if p in self.state]
            group["taken"] = max(taken, default=0)
        group["taken"] += moves
        return int(group["taken"])

    @torch.no_grad()
    def _step_by_tensors(self) -> None:
        for group in self.param_groups:
            lists: list[list[Tensor]] = [[], [], [], [], [], []]
            self._init_group(group, *lists)  # type: ignore[no-untyped-call]
            params, gradients, means, squares, _, steps = lists
            if not params:
                continue
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                *(params, gradients, means, squares, []),
                [torch.full_like(steps[0], self.LATE)] * len(params),
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["keras_eps"],
                amsgrad=False,
                maximize=False,
            )


def _decayed(params: list[Tensor], decay: float) -> list[Tensor]:
    """Return ``grad + decay * weight`` as new tensors."""
    grads = [p.grad for p in params if p.grad is not None]
    return list(torch._foreach_add(grads, params, alpha=decay))


def memory(optimizer: Optimizer, parameter: Tensor, key: str) -> Tensor:
    """Return what a rule remembers of a tensor under a name; zeros, which are kept, where nothing yet."""
    state = optimizer.state[parameter]
    if state.get(key) is None:
        state[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    found: Tensor = state[key]
    return found


def steps_of(optimizer: Optimizer, parameter: Tensor) -> Tensor:
    """Return a tensor's count of steps; first among its memory, as torch's Adam puts it."""
    state = optimizer.state[parameter]
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
    steps: Tensor = state["step"]
    return steps


def _sgd(params: Groups, optim: Optim) -> Optimizer:
    return torch.optim.SGD(
        params, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True
    )


def _adam(params: Groups, optim: Optim) -> Optimizer:
    betas = (optim.beta1, optim.beta2)
    return torch.optim.Adam(params, lr=optim.lr, betas=betas, eps=optim.eps, fused=True)


def _keras_adam(params: Groups, optim: Optim) -> Optimizer:
    betas = (optim.beta1, optim.beta2)
    own = [{**group, "keras_eps": optim.eps} for group in params]
    return KerasAdam(own, lr=optim.lr, betas=betas, fused=True)


def _rmsprop(params: Groups, optim: Optim) -> Optimizer:
    return KerasRMSprop(params, optim.rho, optim.eps, centered=optim.centered)


def _muon(params: Groups, optim: Optim) -> Optimizer:
    if optim.aux == "adam":
        return Muon(params, optim.momentum, lambda rest: _adam(rest, optim))
    momentum = optim.aux_momentum  # nesterov's, as in airbench94_muon.py
    own = [group if group["orthogonal"] else {**group, "momentum": momentum} for group in params]

    def sgd(rest: Groups) -> Optimizer:
        return torch.optim.SGD(rest, momentum=momentum, nesterov=momentum > 0, fused=True)

    return Muon(own, optim.momentum, sgd)


RULES: dict[str, Callable[[Groups, Optim], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "keras-sgd": lambda params, optim: KerasSGD(params, optim.momentum, optim.nesterov),
    "keras-adam": _keras_adam,
    "muon": _muon,
    "2012": lambda params, optim: KerasSGD(params, optim.momentum, nesterov=False),
    "rmsprop": _rmsprop,
}


WEIGHT_BY_WEIGHT = ("sgd", "adam", "keras-adam", "keras-sgd", "2012")  # what our kernels compute


def rates(optimizer: Optimizer) -> list[float]:
    """Return what each group's coming step is multiplied by where rates are tensors; once a step.

    Of groups whose ``lr`` are numbers, as ``groups.set_rate`` leaves them.
    """
    every = optimizer.param_groups
    if isinstance(optimizer, KerasAdam):
        return [optimizer.rate_of(group) for group in every]
    return [float(group["lr"]) for group in every]


def memory_of(optimizer: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return what the rule remembers as tensors named ``<parameter>/<key>``, to be saved."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_memory(optimizer: Optimizer, model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Put back what ``memory_of`` gave. Raises ``CheckpointError`` for tensors that do not fit."""
    parameters = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group.pop("taken", None)
    for full_name, value in saved.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or value.numel() not in (1, parameter.numel()):
            raise CheckpointError(f"the saved optimiser state {full_name!r} is of another network")
        like = parameter if value.ndim == parameter.ndim else value
        # As the rule itself made it: same memory format, so that the same kernels run.
        optimizer.state[parameter][key] = torch.empty_like(like, device=parameter.device).copy_(
            value
        )


def average(models: tuple[nn.Module, nn.Module], decay: float, step: int) -> None:
    """Move ``models[0]``, the running average, towards ``models[1]``, the network in training.

    The decay starts lower, ``(1+step)/(10+step)``, so that early weights are soon forgotten; norms'
    running statistics are copied.
    """
    kept, live = models
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(kept.parameters()), list(live.parameters()), weight)
        for own, other in zip(kept.buffers(), live.buffers(), strict=True):
            own.copy_(other)


def finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether every value of every tensor is a number."""
    return all(bool(torch.isfinite(t).all()) for t in tensors)
