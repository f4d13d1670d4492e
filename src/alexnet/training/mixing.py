"""mixup: two pictures of a batch laid over each other, and the loss against the labels of both.

Zhang et al. 2018, "mixup: Beyond empirical risk minimization", section 2. A batch's neighbours, the
first and the second row, the third and the fourth, are mixed with each other: epochs are shuffled, so
that who meets whom is chance. What is mixed is what a step's first row reads: pictures or, where frozen
rows ran once, what left those (manifold mixup at that row: Verma et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from alexnet.data.order import fold
from alexnet.errors import RecipeError
from alexnet.recipe import Recipe


def share(alpha: float, seed: int, step: int) -> float:
    """Return how much of itself every picture of a step keeps, .5 to 1; 1 for an ``alpha`` of 0.

    lambda or 1 - lambda, the larger, of a lambda from Beta(alpha, alpha): as neighbours are mixed with
    each other, both give the same mixtures, each in the other's place. So a picture's own label is
    always the heavier one.
    """
    if not alpha:
        return 1.0
    drawn = float(
        np.random.Generator(np.random.PCG64(fold(seed, "mixup", step))).beta(alpha, alpha)
    )
    return max(drawn, 1.0 - drawn)


def partners(count: int, device: torch.device) -> Tensor:
    """Return the row that each of ``count`` rows is mixed with: int64 ``(count,)``.

    The last one of an odd number is mixed with itself, that is left as it is.
    """
    return (torch.arange(count, device=device) ^ 1).clamp_max(count - 1)


def mixed(x: Tensor, share: float) -> Tensor:
    """Mix rows of ``x``, float ``(N, ...)``, with their partners: of the same shape and layout."""
    if share == 1.0:
        return x
    return x.lerp(x[partners(len(x), x.device)], 1.0 - share)


def loss(of: Callable[[Tensor], Tensor], labels: Tensor, share: float) -> Tensor:
    """Return ``share`` times the loss ``of(labels)`` and the rest of that of the partners' labels."""
    if share == 1.0:
        return of(labels)
    return share * of(labels) + (1.0 - share) * of(labels[partners(len(labels), labels.device)])


def refuse_apart(recipe: Recipe, processes: int) -> None:
    """Raise ``RecipeError`` where the two pictures of a pair may be read by different processes."""
    plan = recipe.train
    if processes == 1 or not recipe.augment.mixup:
        return
    if plan.batch % (2 * processes) or not plan.drop_last:
        raise RecipeError(
            f"augment.mixup = {recipe.augment.mixup:g} mixes neighbours of a batch, which {processes} "
            f"processes divide: train.batch = {plan.batch} with train.drop_last = "
            f"{str(plan.drop_last).lower()} may part them; set train.batch to a multiple of "
            f"{2 * processes} and train.drop_last = true"
        )
