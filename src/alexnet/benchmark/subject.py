"""What is timed: a network as it is trained, on a batch of random pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.errors import UsageError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.recipe import check
from alexnet.run.computing import plan_here, settle_convolutions
from alexnet.run.device import Device
from alexnet.training import forward, optim


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
    ) -> None:
        """Build it; ``convolutions`` as the recipe key.

        Raises ``UsageError`` for a batch below 1, ``RecipeError`` for an unknown rule.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}")
        self.network, self.device, self.batch = zoo.network(network), device, batch
        built = build(self.network, size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = built.to(device.torch).train()
        tree = {"name": "bench", "summary": "", "optim": {"name": optimizer, "lr": 1e-4}}
        self.rule = check(tree, origin="bench").optim
        self.updates = optim.make(self.model, self.rule)
        how = settle_convolutions(self.model, device, asked=convolutions)
        self.computing = plan_here(
            device, data_bytes=0, compiled=False, static=True, alone=True, convolutions=how
        )
        self.computing.settle()
        self.masters = forward.masters(self.computing, self.model)
        x = torch.rand(batch, 3, self.model.size, self.model.size, device=device.torch)
        self.pictures = x.contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch, device=device.torch) % self.network.classes

    @property
    def called(self) -> nn.Module:
        """Return the network that runs forward: with bf16 weights, where there are some."""
        return self.model if self.masters is None else self.masters.working

    def loss(self) -> Tensor:
        """Run forward."""
        with self.device.autocast():
            logits = self.called(self.pictures)
        return F.cross_entropy(logits.float(), self.labels)

    def update(self) -> None:
        """Move the weights by the gradients, and forget these."""
        if self.masters is not None:
            self.masters.take_gradients(self.updates)
        forward.update(self.updates, self.masters)

    def step(self) -> None:
        """Take one step: forward, backward, update."""
        self.loss().backward()  # type: ignore[no-untyped-call]
        self.update()
