"""An update of large weights on a GPU in one pass: widen the gradient, apply the rule, round to bf16.

With torch a rule reads float32 gradients that a pass before it widened, and a pass after it rounds the
masters: 12 bytes a weight that travel for nothing, and 2 more of the gradient. Here each large tensor
is one launch of a Triton kernel (``update_kernels``); the small ones are left to torch, which moves many in
one launch. Numbers are torch's to float32 rounding: products and
sums may be contracted, and torch's own multiply some of them in float64. The rule's memory is what torch
would have made, under the same names, so that either goes on where the other stopped.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from alexnet.recipe import Optim
from alexnet.training import optim
from alexnet.training.layout import lying_as

Group = dict[str, Any]
Pairs = Sequence[
    tuple[Tensor, Tensor]
]  # float32 masters with bf16 working weights, whose gradients are there

ONE_PASS = "one pass"
LARGE = 1 << 18  # weights: with fewer, a launch takes longer than the bytes that it saves
LARGEST = 1 << 31  # an index is of 32 bits
BLOCK = 1024  # weights that a program moves, four a thread: 16 bytes of float32 at a time


def way(device: torch.device, plan: Optim) -> str:
    """Say how weights beside masters are to be updated: ``one pass``, or ``torch`` with the reason.

    In one pass on CUDA devices, where Triton is there and its kernels move weights as torch's rule does.
    """
    if device.type != "cuda":
        return "torch"
    if plan.name not in optim.WEIGHT_BY_WEIGHT:
        return f"torch (no kernel for {plan.name})"
    if importlib.util.find_spec("triton") is None:
        return "torch (triton is not installed)"
    try:
        right = agrees(device, plan)
    except Exception as error:  # of Triton, a compiler, a linker or a driver: each has its own
        return f"torch (triton: {str(error).strip().partition(chr(10))[0]})"
    return ONE_PASS if right else "torch (its kernel computes something else on this device)"


@torch.no_grad()
def agrees(device: torch.device, plan: Optim) -> bool:
    """Say whether two steps by a rule's kernel are two of torch's, on numbers of about 1."""
    values = torch.linspace(-1, 1, BLOCK + 100, device=device)
    ours, theirs = values.clone(), values.clone()
    narrow = ours.to(torch.bfloat16)
    group = {"lr": 0.01, "weight_decay": plan.weight_decay}
    rules = [optim.RULES[plan.name]([group | {"params": [of]}], plan) for of in (ours, theirs)]
    for angle in (1, 2):
        narrow.grad = torch.cos(angle * values).to(torch.bfloat16)
        theirs.grad = narrow.grad.float()
        step(rules[0], rules[0].param_groups[0], [(ours, narrow)])
        rules[1].step()
    near = torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    return near and torch.equal(narrow, ours.to(torch.bfloat16))


def suits(weights: Tensor) -> bool:
    """Say whether a tensor is worth a launch of its own."""
    return LARGE <= weights.numel() < LARGEST


@torch.no_grad()
def step(rule: torch.optim.Optimizer, group: Group, pairs: Pairs) -> None:
    """Move tensors of one of a rule's groups by their gradients, and round them.

    Each pair: the float32 weights, and the bf16 ones, of the same shape and memory format, which hold a gradient.
    Nothing is asked of the device. Raises ``KeyError`` for a rule that has no kernel.
    """
    with torch.cuda.device_of(pairs[0][0]):  # type: ignore[no-untyped-call]
        LAUNCHES[type(rule)](rule, group, pairs)


def rehearse(rule: torch.optim.Optimizer, device: torch.device, *, replayed: bool) -> None:
    """Compile what ``step`` will launch, on weights of no network: before a clock runs.

    ``replayed``: rates will be tensors. Rule and groups stay as they are.
    """
    for group in rule.param_groups:
        wide = torch.zeros(BLOCK, device=device)
        narrow = wide.to(torch.bfloat16)
        narrow.grad = torch.zeros_like(narrow)
        rate = torch.zeros((), device=device) if replayed else group["lr"]
        step(rule, {**group, "lr": rate}, [(wide, narrow)])
        rule.state.pop(wide, None)


def _sgd(rule: torch.optim.Optimizer, group: Group, pairs: Pairs) -> None:
    momentum = float(group["momentum"])
    flags = {"MOMENTUM": momentum != 0, "NESTEROV": bool(group["nesterov"])}
    for wide, narrow in pairs:
        # Of zeros: torch's first step leaves the gradient in it, and so does this one.
        velocity = optim.memory(rule, wide, "momentum_buffer") if momentum else wide
        numbers = (momentum, float(group["weight_decay"]))
        _launch("sgd", group, (wide, narrow, velocity), numbers, flags)


def _keras_sgd(rule: torch.optim.Optimizer, group: Group, pairs: Pairs) -> None:
    flags = {"NESTEROV": bool(group["nesterov"])}
    numbers = (float(group["momentum"]), float(group["weight_decay"]))
    for wide, narrow in pairs:
        tensors = (wide, narrow, optim.memory(rule, wide, "velocity"))
        _launch("keras_sgd", group, tensors, numbers, flags)


def _adam(rule: torch.optim.Optimizer, group: Group, pairs: Pairs) -> None:
    keras = isinstance(rule, optim.KerasAdam)
    eps, decay = float(group["keras_eps" if keras else "eps"]), float(group["weight_decay"])
    betas = [number for beta in group["betas"] for number in (beta, 1 - beta, math.log(beta))]
    steps = [optim.steps_of(rule, wide) for wide, _ in pairs]
    torch._foreach_add_(steps, 1)
    for (wide, narrow), taken in zip(pairs, steps, strict=True):
        memory = [optim.memory(rule, wide, key) for key in ("exp_avg", "exp_avg_sq")]
        _launch(
            "adam", group, (wide, narrow, *memory), (taken, *betas, eps, decay), {"KERAS": keras}
        )


Launch = Callable[[torch.optim.Optimizer, Group, Pairs], None]
LAUNCHES: dict[type, Launch] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    optim.KerasAdam: _adam,
    optim.KerasSGD: _keras_sgd,
}


def _launch(
    name: str,
    group: Group,
    tensors: tuple[Tensor, ...],
    numbers: tuple[float | Tensor, ...],
    flags: dict[str, bool],
) -> None:
    """Launch a kernel over weights, working weights and memory as they lie, all in one order."""
    from alexnet.training import update_kernels

    wide, narrow, *memory = tensors
    assert narrow.grad is not None
    gradient, count = lying_as(narrow.grad, narrow), wide.numel()
    lr = group["lr"] if isinstance(group["lr"], Tensor) else float(group["lr"])
    getattr(update_kernels, name)[(-(-count // BLOCK),)](
        *(wide, gradient, *memory, narrow, count, lr, *numbers),
        **flags,
        TENSOR=isinstance(lr, Tensor),
        BLOCK=BLOCK,
        num_warps=BLOCK // 128,
    )
