"""The pictures of a finished run, drawn without asking: curves, confusion, samples, one prediction."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.data.order import fold
from alexnet.recipe import Recipe
from alexnet.reporting.confusion import plot_confusion
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.samples import draw_grid, draw_ranking, samples
from alexnet.run.classifier import Classifier, Split
from alexnet.run.device import Device
from alexnet.run.files import write_whole
from alexnet.run.named import Named, selected
from alexnet.training.record import Result

SAMPLES = 32
CURVES, CONFUSION, GRID = "curves.png", "confusion.png", "samples.png"
PREDICTION, PICTURE = "prediction.png", "picture.png"


def missing(result: Result) -> bool:
    """Say whether a finished run lacks any of its pictures."""
    every = (CONFUSION, GRID, PREDICTION, PICTURE, *([] if result.solved else [CURVES]))
    return not all((result.folder / name).is_file() for name in every)


def draw(
    result: Result,
    model: Classifier,
    dataset: Dataset | None,
    device: Device,
    say: Callable[[str], None],
) -> list[Path]:
    """Draw a finished run's pictures into its folder and return their paths.

    ``dataset``: None: those alone that need no data. ``say`` gets one line about a random test picture: what was predicted and what it is.
    """
    folder, recipe = result.folder, result.recipe
    matrix = np.array(result.record["test"]["confusion"])
    title = f"{recipe.name} on {Path(recipe.data.name).name}"
    theirs, curves = published(recipe), folder / CURVES
    drawn = (
        []
        if result.solved
        else [plot_curves(result.history, curves, published=theirs, title=recipe.name)]
    )
    return [
        *drawn,
        plot_confusion(matrix, model.classes, folder / CONFUSION, title=title),
        *(_test_pictures(result, model, dataset, device, say) if dataset else []),
    ]


def published(recipe: Recipe) -> dict[str, tuple[float, ...]]:
    """Return the published curves of a recipe, by the names of our own."""
    told = recipes.compared(recipe)
    if told is None:
        return {}
    curves = {"val_accuracy": told.val_accuracy, "val_loss": told.val_loss}
    return {name: values for name, values in curves.items() if values}


def _test_pictures(
    result: Result, model: Classifier, dataset: Dataset, device: Device, say: Callable[[str], None]
) -> list[Path]:
    folder, recipe = result.folder, result.recipe
    found = samples(_by_chance(recipe, dataset), model, device)
    one, best = found[0], found[0].ranked[0]
    say(
        f"one test picture ({one.file or f'number {one.index}'}): predicted {best.label} "
        f"({best.probability:.1%}), actual {one.actual}"
    )
    return [
        draw_grid(found, folder / GRID, title=f"{recipe.name}: predicted"),
        draw_ranking(one, folder / PREDICTION),
        _write_picture(one.picture, folder / PICTURE),
    ]


def _by_chance(recipe: Recipe, dataset: Dataset) -> Named:
    """Return ``SAMPLES`` pictures of a run's test split, drawn by its seed; fewer where it has fewer."""
    plan = recipe.data
    split = Split(plan.test, plan.split, plan.split_seed)
    test = selected(dataset, split, Path(plan.name).name)
    chance = np.random.Generator(np.random.PCG64(fold(recipe.train.seed, "samples")))
    places = chance.choice(len(test.source), min(SAMPLES, len(test.source)), replace=False)
    return replace(test, source=replace(test.source, chosen=test.source.chosen[places]))


def _write_picture(image: NDArray[np.uint8], path: Path) -> Path:
    """Write the picture itself, so that there is a file to try `alexnet predict` on."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return write_whole(path, stream.getvalue())
