"""Starting from pretrained weights, and training behind layers that run once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from alexnet.data.cache import Dataset
from alexnet.data.loader import Source
from alexnet.data.sources import roots
from alexnet.errors import RecipeError
from alexnet.exchange import filling, pretrained
from alexnet.models import table, transfer, zoo
from alexnet.models.build import AlexNet
from alexnet.models.table import Network
from alexnet.recipe import Augment, Model, Recipe
from alexnet.run.log import Console
from alexnet.training import copies, features


def network_of(plan: Model, classes: int | None, examples: int = 1) -> Network:
    """Return the table that a recipe's ``[model]`` describes.

    ``examples``: the training pictures, which a kernel machine keeps.
    """
    return transfer.adapted(
        zoo.network(plan.network, classes=classes),
        pool=plan.pool,
        head=plan.head,
        head_norm=plan.head_norm,
        kernel=plan.kernel,
        dropout=plan.dropout,
        init=plan.init,
        examples=examples,
    )


def start_from(model: AlexNet, plan: Model, root: Path | None, console: Console) -> AlexNet:
    """Fill and freeze what the recipe says; which rows start fresh is said.

    Raises ``RecipeError`` for a frozen row that the weights do not fill, or where nothing is left to
    train; ``DataError`` or ``DownloadError`` where the weights cannot be had.
    """
    frozen = transfer.frozen_rows(model.network, plan.frozen)
    if plan.weights:
        weights = pretrained.load(plan.weights, root=root, say=console.say)
        filled = filling.fill(model, weights.tensors, weights.origin)
        console.say(f"weights from {weights.origin}: {filled.in_words()}")
        if fresh := sorted(frozen & filled.fresh.keys()):
            raise RecipeError(
                f"model.frozen holds {fresh[0]} as it is, but model.weights = {plan.weights!r} does "
                f"not fill it ({filled.fresh[fresh[0]]})"
            )
    model.freeze(frozen)
    if not any(p.requires_grad for p in model.parameters()):
        raise RecipeError(f"model.frozen = {list(plan.frozen)} leaves nothing to train")
    return model


def rows_run_once(recipe: Recipe, model: AlexNet) -> int:
    """Count the frozen rows that can run once: only where no picture is changed but by mirroring.

    Or where copies of it are changed beforehand (``augment.copies``); raises ``RecipeError`` where no
    frozen row begins the network, which could run on them. Mixing is no change of a picture: what left the rows is mixed instead (``mixing``). A mean picture is not mirrored with the pictures, so that their features cannot be kept apart.
    """
    fixed = transfer.fixed_rows(table.trace(model.network, model.size), model.frozen)
    if recipe.augment.copies and not fixed:
        raise RecipeError(
            f"augment.copies = {recipe.augment.copies} keeps what frozen rows give, and model.frozen = "
            f"{list(recipe.model.frozen)} does not hold {model.network.name} from its first row on; "
            "freeze its norms too, or set augment.copies = 0"
        )
    flips = recipe.augment.flip != "none" and recipe.input.mean == "picture"
    moved = recipe.augment.model_copy(update={"flip": "none", "mixup": 0.0}) != Augment()
    changes = flips or moved or bool(recipe.train.sides)
    return 0 if changes and not recipe.augment.copies else fixed


def run_once(
    plan: features.Plan,
    recipe: Recipe,
    dataset: Dataset,
    parts: dict[str, Source],
    root: Path | None,
    console: Console,
    noise: Tensor | None = None,
) -> dict[str, Source]:
    """Put features in the place of pictures, in the splits that can be read from them.

    ``noise``: of the colours (``measured.noise``), for copies that have it.
    """
    found = dict(parts)
    made = copies.of_recipe(recipe, plan.preprocessing, noise)
    for name, source in parts.items():
        views = _views(recipe, name)
        if plan.give(views):
            part = next(p for p, of in dataset.parts.items() if of.images is source.images)
            how = replace(plan, copies=made if name == "train" else None)
            count = (
                recipe.augment.copies if how.copies else max(map(features.VIEWS.__getitem__, views))
            )
            facts = how.facts(dataset.fingerprint, part, source.chosen, count)
            title = re.sub(r"[^\w.-]+", "_", dataset.name)[-40:] + f"-{name}"
            found[name] = features.once(how, source, title, facts, roots(root), console)
    return found


def _views(recipe: Recipe, name: str) -> set[str]:
    """Return the views that a split is seen in."""
    if name == "train":
        return {"centre"} if recipe.augment.flip == "none" else {"centre", "flip"}
    scored = recipe.evaluation
    return {scored.views, *scored.also} if name == "test" else {scored.views}
