"""What is timed: a network as it is trained, on a batch of random pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.errors import UsageError
from alexnet.models import zoo
from alexnet.models.build import build, draw_masks
from alexnet.recipe import check
from alexnet.run.computing import plan_here, settle_convolutions, settle_fused
from alexnet.run.device import Device
from alexnet.training import execution, groups, optim
from alexnet.training.captured import WARM_UP


class Subject:
    """A network with its update rule and a batch; ``step`` is one step of training.

    The batch lies on the device. ``computing``: how it is computed there, as a run would decide.
    """

    def __init__(
        self,
        network: str,
        device: Device,
        *,
        batch: int,
        size: int | None,
        optimizer: str,
        convolutions: str = "auto",
        compiled: bool = False,
        apart: bool = False,
    ) -> None:
        """Build it; ``convolutions`` and ``compiled`` as the recipe's keys.

        ``apart``: layer by layer, so that each can be timed. Raises ``UsageError`` for a batch below 1, ``RecipeError`` for an unknown rule.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}")
        self.network, self.device, self.batch = zoo.network(network), device, batch
        built = build(self.network, size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = built.to(device.torch).train()
        tree = {"name": "bench", "summary": "", "optim": {"name": optimizer, "lr": 1e-4}}
        self.rule = check(tree, origin="bench").optim
        self.updates = optim.make(self.model, self.rule)
        how = settle_convolutions(self.model, device, asked=convolutions, compiled=compiled)
        fused = settle_fused(self.model, device, compiled=compiled)
        if apart:
            self.model.units, fused = {}, "apart"  # a response norm is one row, fused or not
        self.computing = plan_here(
            device,
            data_bytes=0,
            compiled=compiled,
            static=True,
            alone=True,
            convolutions=how,
            graph=not apart,
            fused=fused,
            update=execution.way(device, self.rule, self.model, how),
        )
        self.computing.settle()
        self.masters = execution.masters(self.computing, self.model)
        self._rows = (
            None if apart else execution.by_rows(self.computing, self.model, lambda _: None)
        )
        self._forward = execution.forward(self.called, 0, self.computing.compile, batch)
        self._captured = execution.captured(
            self.computing, self.updates, device, batch, self.network
        )
        x = torch.rand(batch, 3, self.model.size, self.model.size, device=device.torch)
        self.pictures = x.contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch, device=device.torch) % self.network.classes

    @property
    def called(self) -> nn.Module:
        """Return the network that runs forward: with bf16 weights, where there are some."""
        return self.model if self.masters is None else self.masters.working

    def loss(self) -> Tensor:
        """Run forward."""
        return self._loss(self.pictures, self.labels)

    def _loss(self, pictures: Tensor, labels: Tensor) -> Tensor:
        with self.device.autocast():
            logits = self._forward(pictures)
        return F.cross_entropy(logits.float(), labels)

    def update(self) -> None:
        """Move the weights by the gradients, and forget these."""
        if self.masters is not None:
            self.masters.take_gradients(self.updates)
        execution.update(self.updates, self.masters, self._rows)

    def step(self) -> None:
        """Take one step: forward, backward, update; as one CUDA graph where a run would."""
        if self.computing.drawn_ahead:
            draw_masks(self.model, self.batch, self.device.torch)
        if self._captured is None:
            self._learn(self.pictures, self.labels)
        else:
            groups.set_rate(self.updates, 1.0)
            self._captured(self._learn, self.pictures, self.labels, key=None)

    def _learn(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = self._loss(pictures, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.update()
        return loss.detach(), loss.detach()

    def warm_up(self) -> None:
        """Take the steps in which memory is mapped, kernels are chosen and a graph is recorded."""
        for _ in range(2 if self._captured is None else WARM_UP + 2):
            self.step()
