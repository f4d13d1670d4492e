"""The pictures of a run: its splits, what is measured of them, and how the network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.data.loader import Source, class_weights, source_of
from alexnet.data.photos import report_text
from alexnet.data.photos.listing import some
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import open_dataset
from alexnet.data.splits import AUTO, SHARE, settle
from alexnet.data.statistics import Statistics
from alexnet.errors import UnknownName, UsageError
from alexnet.recipe import Recipe
from alexnet.run.log import Console
from alexnet.run.ranks import Ranks
from alexnet.training import checks, measured


@dataclass(frozen=True)
class Material:
    """What a run is trained and scored on. ``recipe`` names the splits where it had ``auto``."""

    recipe: Recipe
    dataset: Dataset
    parts: dict[str, Source]  # by role: train, test and, where the recipe has it, validation
    statistics: Statistics | None  # of the training split, where the recipe needs them
    preprocessing: Preprocessing
    noise: Tensor | None  # of the colours, (3, 3): measured.noise
    class_weights: Tensor | None  # (classes,), where rare classes weigh more in the loss

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.dataset.classes)


def gather(
    recipe: Recipe, root: Path | None, console: Console, ranks: Ranks, folder: Path | None
) -> Material:
    """Open a recipe's data set, cut it, and measure what has to be known of the training split.

    ``folder``: the run's, whose statistics are read where they are there. Raises ``UsageError`` for
    a split that is empty, and for two that share pictures.
    """
    with ranks.first_of_machine("data"):
        dataset = _open(recipe, root, console)
    asked, recipe = recipe, _settled(recipe, dataset, console)
    parts = _parts(recipe, dataset)
    if asked.data.test == AUTO:
        _tell_untested(parts["test"], dataset.classes, console)
    train = parts["train"]
    checks.refuse_far(recipe.augment.crop, train.images.shape[1])
    found = measured.statistics_of(recipe, train, folder, console)
    prepared = measured.preprocessing(recipe, train.images.shape[1], found)
    noise = measured.noise(recipe.augment, prepared, found)
    weighs = recipe.train.balance == "loss"
    weights = class_weights(train.targets, len(dataset.classes)) if weighs else None
    return Material(recipe, dataset, parts, found, prepared, noise, weights)


def _open(recipe: Recipe, root: Path | None, console: Console) -> Dataset:
    """Open the data set and, of photographs, say what was found in them."""
    data = recipe.data
    found = open_dataset(
        data.name,
        root=root,
        size=data.size,
        fit=data.fit,
        say=console.say,
        quiet=console.quiet,
        classes=2,
    )
    if report := found.report():
        console.say(report_text.render(report))
    return found


def _settled(recipe: Recipe, dataset: Dataset, console: Console) -> Recipe:
    """Put splits in the place of ``auto``, and say so; what has to be cut is cut class by class."""
    asked = checks.splits(recipe)
    if AUTO not in asked.values():
        return recipe
    found = settle(asked, dataset.parts)
    changes: dict[str, Any] = {f"data.{role}": text for role, text in found.items()}
    if asked["train"] == AUTO and "[" in found["train"]:
        changes["data.split"] = "stratified"
        cut = [role for role in ("validation", "test") if found[role].startswith("train[")]
        console.say(
            f"no part for {' and '.join(cut)}: {SHARE} % of the training pictures, class by class, are "
            f"kept {'for each' if len(cut) > 1 else 'for it'} and not trained on"
        )
    return recipes.override(recipe, changes)


def _tell_untested(test: Source, classes: tuple[str, ...], console: Console) -> None:
    """Name the classes that a test has no picture of: a cut gives a class of three pictures none, or one."""
    tested = np.bincount(test.targets, minlength=len(classes))
    if untested := [name for name, count in zip(classes, tested, strict=True) if not count]:
        console.say(f"no test picture of: {some(untested)}; how well these are told is not known")


def _parts(recipe: Recipe, dataset: Dataset) -> dict[str, Source]:
    """Return the pictures of each split that the recipe names; none is trained on and scored."""
    data, splits = recipe.data, checks.splits(recipe)
    how: dict[str, Any] = {"method": data.split, "seed": data.split_seed}
    try:
        parts = {name: source_of(dataset, text, **how) for name, text in splits.items() if text}
    except UnknownName as error:
        raise UsageError(
            f"{error}; 'auto' for data.train, data.validation and data.test takes the parts that there "
            "are, and cuts those that are missing out of train"
        ) from None
    checks.refuse_overlap(parts, splits, chooses=recipe.chooses)
    checks.refuse_unscored(recipe, parts)
    return parts
