"""Smaller pictures first: how large they are at each step of a run, and what that saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from alexnet.data.preprocess import Preprocessing
from alexnet.errors import RecipeError
from alexnet.models import table
from alexnet.models.table import Network
from alexnet.recipe import Recipe
from alexnet.run import views

GROWING = 0.75  # of the run; the rest of it is spent at the last side
UNIT = 16  # pixels; a few sides, not one a step: kernels are chosen anew for each


def side_at(sides: Sequence[int], size: int, step: int, total: int) -> int:
    """Return the side of the training pictures at ``step`` (0-based) of ``total``, in pixels.

    ``sides``: the first and the last, between which it grows linearly in units of ``UNIT``, or
    none for ``size`` throughout (progressive resizing: Howard 2018, "Training Imagenet in 3 hours";
    Tan and Le 2021, EfficientNetV2, section 4).
    """
    if not sides:
        return size
    first, last = sides
    share = min(1.0, step / max(1.0, GROWING * total))
    return round((first + (last - first) * share) / UNIT) * UNIT


def at(prepared: Preprocessing, recipe: Recipe, step: int, total: int) -> Preprocessing:
    """Return the preprocessing of a training batch: that of the run at the side of its step."""
    side = side_at(recipe.train.sides, prepared.size, step, total)
    return prepared if side == prepared.size else replace(prepared, size=side)


def mean(cost: Callable[[int], int], recipe: Recipe, steps: range, total: int) -> float:
    """Return the mean over ``steps`` of ``total`` of what a picture costs at the side of each."""
    size = recipe.input.size
    counts = Counter(side_at(recipe.train.sides, size, step, total) for step in steps)
    return sum(cost(side) * count for side, count in counts.items()) / max(1, len(steps))


def refuse_unfit(recipe: Recipe, network: Network) -> None:
    """Raise ``UsageError`` where the weights of one side do not fit the pictures of another."""
    if "scales" in (recipe.evaluation.views, *recipe.evaluation.also):
        views.refuse_one_size(network, recipe.input.size)
    if odd := [side for side in recipe.train.sides if side % UNIT]:
        raise RecipeError(
            f"train.sides = {list(recipe.train.sides)}: pictures grow in units of {UNIT} pixels, and "
            f"{odd[0]} is none of them; choose multiples of {UNIT}"
        )
    asked = sorted({*recipe.train.sides, recipe.input.size})
    found = {side: table.totals(table.trace(network, side)).trainable for side in asked}
    if len(set(found.values())) > 1:
        weights = ", ".join(f"{count:,} at {side}" for side, count in found.items())
        raise RecipeError(
            f"train.sides = {list(recipe.train.sides)} with input.size = {recipe.input.size}: the "
            f"dense layers of {network.name} fit one size only ({weights} weights); leave out "
            "train.sides, or choose a network with an adaptive pool, e.g. alexnet-bn or owt"
        )
