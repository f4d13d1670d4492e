"""How several processes share one run: each a part of every batch, or each a tower of the network.

Alone, everything here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from alexnet.errors import RecipeError
from alexnet.models import split, towers
from alexnet.models.build import AlexNet
from alexnet.models.global_norm import globalise
from alexnet.models.table import Network
from alexnet.models.towers import Tower
from alexnet.recipe import Recipe
from alexnet.run.ranks import ALONE, Ranks
from alexnet.training import mixing


@dataclass(frozen=True)
class Parallel:
    """The processes of a run and what each does. ``two_towers``: the table, where they halve it."""

    ranks: Ranks = ALONE
    two_towers: Network | None = None

    @property
    def readers(self) -> tuple[int, int]:
        """Return ``(rank, world)`` for reading: two towers see every picture, both of them."""
        return (0, 1) if self.two_towers else (self.ranks.rank, self.ranks.world)

    @property
    def divided(self) -> bool:
        """Say whether every batch is divided between processes."""
        return self.readers[1] > 1

    def model(self, whole: AlexNet) -> AlexNet | Tower:
        """Return this process's part of a freshly built network, on the CPU, in training mode."""
        self.ranks.share(whole.state_dict().values())
        if self.two_towers:
            half = Tower(self.two_towers, whole.size, self.ranks.rank, self.ranks.swap)
            half.load_state_dict(self.own(whole.state_dict()))
            return half.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]
        if self.divided:
            globalise(whole, self.ranks.sum)
        return whole

    def of_classes(self, classes: int) -> Parallel:
        """Return the same for a data set of that many classes."""
        if not self.two_towers:
            return self
        return replace(self, two_towers=self.two_towers.with_classes(classes))

    def forward(self, model: nn.Module) -> nn.Module:
        """Return what the loop calls: the model, its gradients averaged where batches are divided."""
        if not self.divided:
            return model
        return DistributedDataParallel(model)

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's part of a whole network's tensors."""
        if not self.two_towers:
            return dict(tensors)
        return towers.split(tensors, self.two_towers, self.ranks.rank)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a whole network's tensors; two towers exchange theirs, so both must call."""
        if not self.two_towers:
            return dict(tensors)
        theirs = {name: self.ranks.swap(tensors[name]) for name in sorted(tensors)}
        parts = (tensors, theirs) if self.ranks.main else (theirs, tensors)
        return towers.join(parts, self.two_towers)

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        smoothing: float,
        class_weights: Tensor | None,
        total: int,
    ) -> Tensor:
        """Return what this process goes back from, where a batch of ``total`` pictures is divided.

        The sum over its own pictures, times the processes, over ``total``: the average of the
        gradients is then that of the whole batch's mean, however uneven the parts.
        """
        each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        if class_weights is not None:
            each = each * class_weights[labels]
        return each.sum() * (self.ranks.world / total)

    def count(self, steps: Tensor) -> list[tuple[float, int]]:
        """Return the whole batches' mean losses and right answers, read from the device at once.

        ``steps``: of each step, this process's loss and its own right answers, ``(steps, 2)``.
        """
        own = steps.tolist()
        if not self.divided:
            return [(loss, int(right)) for loss, right in own]
        every = self.ranks.gather([value for step in own for value in step])
        found = every.view(len(every), len(own), 2)
        return [(float(of[:, 0].mean()), int(of[:, 1].sum())) for of in found.unbind(1)]


def of(recipe: Recipe, ranks: Ranks, network: Network, *, resumed: bool = False) -> Parallel:
    """Return what the recipe asks for. Raises ``RecipeError`` where that is not possible.

    ``resumed``: a run of two towers may go on in one process, since checkpoints hold whole networks.
    """
    if ranks.world > 1 and recipe.train.compile:
        raise RecipeError(
            f"train.compile = true works in one process, not in {ranks.world}; set it to false"
        )
    if recipe.train.parallel == "data" or (resumed and ranks.world == 1):
        mixing.refuse_apart(recipe, ranks.world)
        return Parallel(ranks)
    if ranks.world != 2:
        raise RecipeError(
            f"train.parallel = 'towers' needs two processes, one a tower, not {ranks.world}; start "
            "them with `torchrun --nproc-per-node 2 -m alexnet train ...`, or set train.parallel = "
            "'data'"
        )
    if recipe.optim.name == "muon":
        raise RecipeError(
            "optim.name = 'muon' moves whole kernels, and with train.parallel = 'towers' each "
            "process holds half of them; choose another rule or train.parallel = 'data'"
        )
    split.halves(network, recipe.input.size)  # raises for a network of one tower
    return Parallel(ranks, network)
