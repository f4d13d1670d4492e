"""Copies of the training pictures, each augmented once: what frozen rows give of them is kept.

Rows that run once see no picture twice, so that nothing can be drawn anew in every step. With
``augment.copies`` each picture is augmented so many times beforehand, and every epoch takes the next
of its copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from alexnet.data.loader import Batch, generator
from alexnet.data.preprocess import Preprocessing
from alexnet.recipe import Augment, Recipe
from alexnet.training import augmentation


@dataclass(frozen=True)
class Copies:
    """How copies are made. ``noise``: of ``measured.noise``, where the recipe asks for it."""

    plan: Augment
    prepared: Preprocessing
    noise: Tensor | None
    seed: int

    def facts(self) -> dict[str, Any]:
        """Return what copies depend on besides pictures and preprocessing, as JSON has it."""
        plan = self.plan.model_dump(mode="json", exclude={"mixup"}, exclude_defaults=True)
        return {"augment": plan, "seed": self.seed}

    def of(self, batch: Batch) -> Iterator[Tensor]:
        """Yield the copies of a batch's pictures, each float32 ``(N, 3, size, size)``.

        What is drawn is a function of the seed, the copy and the batch's first picture.
        """
        first = int(batch.indices[0])
        noise = None if self.noise is None else self.noise.to(batch.pictures.device)
        for copy in range(self.plan.copies):
            draw = generator(self.seed, "copies", copy, first)
            draws = augmentation.draw(self.plan, self.prepared, batch.indices, copy, draw)
            yield augmentation.apply(self.plan, self.prepared, noise, batch.pictures, draws)


def of_recipe(recipe: Recipe, prepared: Preprocessing, noise: Tensor | None) -> Copies | None:
    """Return the copies that a recipe asks for; None where it asks for none."""
    plan = recipe.augment
    return Copies(plan, prepared, noise, recipe.train.seed) if plan.copies else None
