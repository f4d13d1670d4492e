"""Units that no picture wakes any more: their rows are left out of the forward pass.

Adam at a high rate silences hidden units: their weights move until no picture brings the unit above
zero, and then nothing moves them again. Of a layer that reads the same values in every epoch, features that were
computed once, this can be known: a unit that stayed at or below zero through a whole epoch in which its
weights did not move will do so for good, since nothing that it depends on changes. What is left out is
zero behind the ReLU and has no gradient, so a run that leaves it out has the bits of one that does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.models import rows
from alexnet.models.build import AlexNet
from alexnet.models.kernels import dense as kernel
from alexnet.models.layers import Linear
from alexnet.recipe import Recipe

# What goes on moving weights without a gradient, by the rule.
MEMORY = ("exp_avg", "momentum_buffer", "velocity")


class Silence:
    """The first layer of a head, and for how many steps on end each of its units has been silent and still."""

    def __init__(self, layer: Linear, steps_per_epoch: int) -> None:
        self.layer = layer
        self._steps = steps_per_epoch
        self._still = torch.zeros(layer.out_features, dtype=torch.int32)
        self._seen = 0

    def begin(self) -> None:
        """Compute all rows, and look at what comes out."""
        assert self.layer.by_rows is not None
        self.layer.by_rows.awake = _numbers(torch.ones(self.layer.out_features, dtype=torch.bool))

    def see(self, rule: torch.optim.Optimizer, rests: Tensor) -> None:
        """Count a step. ``rests`` ``(units,)``: rows of the weights that the step did not move."""
        found = self.layer.by_rows
        assert found is not None
        assert found.fired is not None
        still = rests.bool() & ~found.fired
        if self.layer.bias is not None:
            still &= _at_rest(rule, self.layer.bias)
        self._still = torch.where(still, self._still + 1, 0)
        self._seen += 1
        if self._seen % self._steps == 0:
            # Of so many steps on end, wherever they begin, some are one whole epoch.
            found.awake = _numbers(self._still < 2 * self._steps - 1)


def _numbers(chosen: Tensor) -> Tensor:
    return chosen.nonzero().flatten().to(torch.int32)


def _at_rest(rule: torch.optim.Optimizer, bias: Tensor) -> Tensor:
    for key in MEMORY:
        memory = rule.state[bias].get(key)
        if memory is not None:
            return torch.as_tensor(memory == 0)
    return torch.zeros(len(bias), dtype=torch.bool)


def watched(model: AlexNet, first: int, recipe: Recipe, steps_per_epoch: int) -> Silence | None:
    """Return the silence of the layer that reads features, where these are the same in every epoch.

    Where it is dense, large, followed by ReLU, moved by no decay, and every picture is in every epoch. Else None.
    """
    plan, augment = recipe.train, recipe.augment
    changes = augment.flip != "none" or augment.copies or augment.mixup
    if not first or changes or plan.drop_last or plan.balance == "sampling" or _decays(recipe):
        return None
    behind = [row for row in model.network.rows[first:] if not isinstance(row, rows.Flatten)]
    if [type(row) for row in behind[:2]] != [rows.Dense, rows.ReLU]:
        return None
    layer = model.get_submodule(behind[0].name)
    if not isinstance(layer, Linear) or not kernel.suits(layer):
        return None
    return Silence(layer, steps_per_epoch)


def _decays(recipe: Recipe) -> bool:
    plan = recipe.optim
    return bool(plan.weight_decay or any(group.weight_decay for group in plan.group))
