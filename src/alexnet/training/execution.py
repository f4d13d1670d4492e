"""How a step is executed and where: placing of pictures, bf16 weights, compiled networks, the update."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from alexnet.data.loader import Resident, Source
from alexnet.errors import UsageError
from alexnet.models import kernels, wiring
from alexnet.models.build import AlexNet
from alexnet.models.kernels import native
from alexnet.models.rows import Conv
from alexnet.models.table import Network
from alexnet.models.towers import Tower
from alexnet.recipe import Optim, Recipe
from alexnet.run import computing
from alexnet.run.computing import Computing
from alexnet.run.device import Device
from alexnet.training import fused_update, row_update
from alexnet.training.captured import Captured, CudaGraph
from alexnet.training.masters import Masters
from alexnet.training.parallel import Parallel
from alexnet.training.row_update import RowUpdate
from alexnet.training.silence import Silence


def convolutions(recipe: Recipe, device: Device, model: AlexNet | Tower) -> str:
    """Choose how a model's convolutions are computed (``computing.settle_convolutions``)."""
    plan = recipe.train
    return computing.settle_convolutions(
        model, device, asked=plan.convolutions, compiled=plan.compile
    )


def decide(
    recipe: Recipe,
    device: Device,
    shared: Parallel,
    parts: dict[str, Source],
    convolutions: str,
    model: AlexNet | Tower,
) -> Computing:
    """Decide how the device computes, and tell torch and the model.

    Raises ``UsageError`` where ``train.compile`` is asked for and no compiler is there.
    """
    plan = recipe.train
    if plan.compile and device.torch.type == "cpu" and os.name == "posix":  # elsewhere torch looks
        _refuse_without_compiler()
    data = [parts[name] for name in ("train", "validation") if name in parts]
    found = computing.plan_here(
        device,
        data_bytes=sum(len(part) * part.images[0].nbytes for part in data),
        compiled=plan.compile,
        static=static(recipe),
        alone=shared.ranks.world == 1 and not shared.two_towers,
        convolutions=convolutions,
        graph=plan.graph,
        fused=computing.settle_fused(model, device, compiled=plan.compile),
        update=way(device, recipe.optim, model, convolutions),
    )
    found.settle()
    return found


def static(recipe: Recipe) -> bool:
    """Say whether every step does the same: pictures of one size, mixed by no share."""
    return not (recipe.train.sides or recipe.augment.mixup)


def way(device: Device, plan: Optim, model: AlexNet | Tower, convolutions: str) -> str:
    """Say how large weights are to be updated (``fused_update.way``, ``row_update.way``)."""
    if device.torch.type == "cpu" and device.precision == "float32":
        return row_update.way(plan, model, convolutions)
    return fused_update.way(device.torch, plan)


def placed(source: Source, plan: Computing, device: Device) -> Source | Resident:
    """Return a split where it was decided to lie."""
    return Resident.of(source, device.torch) if plan.resident else source


def masters(plan: Computing, model: AlexNet | Tower) -> Masters | None:
    """Return the bf16 weights beside a model's own, where that was decided."""
    if plan.weights != "masters" or not isinstance(model, AlexNet):
        return None
    return Masters(model, one_pass=plan.update == fused_update.ONE_PASS)


def by_rows(
    plan: Computing, model: AlexNet | Tower, watch: Callable[[AlexNet], Silence | None]
) -> RowUpdate | None:
    """Return what moves large dense layers row by row, where that was decided."""
    if plan.update != row_update.BY_ROWS or not isinstance(model, AlexNet):
        return None
    return RowUpdate(model, watch(model))


def forward(model: nn.Module, first: int, compiled: str, batch: int) -> Callable[[Tensor], Tensor]:
    """Return what the loop calls: ``model`` from its row ``first`` on, compiled as was decided.

    Compiled for ``batch`` pictures; an epoch's last, shorter batch runs as it is.
    """
    called = partial(model, first=first) if first else model
    return called if compiled == "no" else _compiled(called, batch)


def captured(
    plan: Computing,
    optimizer: torch.optim.Optimizer,
    device: Device,
    batch: int,
    network: Network,
) -> Captured | None:
    """Return what takes steps of ``batch`` pictures as CUDA graphs, where that was decided."""
    if not plan.graph:
        return None
    alone = isinstance(network.rows[0], Conv) and wiring.PICTURE not in wiring.held(network.rows)
    rounded = device.dtype if alone else None  # a convolution would round them itself
    return Captured(optimizer, CudaGraph(device.torch), batch, rounded)


def update(
    rule: torch.optim.Optimizer, masters: Masters | None, rows: RowUpdate | None = None
) -> None:
    """Move the weights by their gradients, and forget these."""
    if masters is not None:
        masters.update(rule)
        return
    if rows is not None:
        rows.step(rule)
        return
    rule.step()
    rule.zero_grad(set_to_none=True)


def _refuse_without_compiler() -> None:
    try:
        native.compiler()
    except kernels.Unavailable as error:
        raise _cannot_compile(str(error)) from None


def _cannot_compile(reason: str) -> UsageError:
    return UsageError(
        f"train.compile = true does not work on this machine ({reason}); install a C++ compiler or set "
        "train.compile=false"
    )


def _compiled(model: Callable[[Tensor], Tensor], batch: int) -> Callable[[Tensor], Tensor]:
    """Compile a model; a machine whose compiler does not work is told so at the first step."""
    compiled = torch.compile(model)

    def forward(x: Tensor) -> Tensor:
        if len(x) != batch:
            return model(x)
        try:
            logits: Tensor = compiled(x)
            return logits
        except torch._dynamo.exc.TorchDynamoException as error:
            raise _cannot_compile(str(error).strip().splitlines()[0]) from None

    return forward
