"""The pictures of a finished run, drawn without asking: curves, confusion, samples, one prediction."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.data.loader import source_of
from alexnet.data.order import fold
from alexnet.data.splits import part_in
from alexnet.prediction import rank
from alexnet.recipe import Recipe
from alexnet.reporting.confusion import plot_confusion
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.pictures import plot_prediction, plot_samples
from alexnet.reporting.style import RIGHT, WRONG
from alexnet.run.classifier import Classifier
from alexnet.run.device import Device
from alexnet.run.files import write_whole
from alexnet.run.views import log_probabilities
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
        *(_chancesamples(result, model, dataset, device, say) if dataset else []),
    ]


def published(recipe: Recipe) -> dict[str, tuple[float, ...]]:
    """Return the published curves of a recipe, by the names of our own."""
    told = recipes.compared(recipe)
    if told is None:
        return {}
    curves = {"val_accuracy": told.val_accuracy, "val_loss": told.val_loss}
    return {name: values for name, values in curves.items() if values}


def _chancesamples(
    result: Result, model: Classifier, dataset: Dataset, device: Device, say: Callable[[str], None]
) -> list[Path]:
    recipe, folder = result.recipe, result.folder
    plan = recipe.data
    test = source_of(dataset, plan.test, method=plan.split, seed=plan.split_seed)
    chance = np.random.Generator(np.random.PCG64(fold(recipe.train.seed, "samples")))
    picked = chance.choice(len(test), min(SAMPLES, len(test)), replace=False)
    batch = test.read(picked, device.torch)
    logs = log_probabilities(
        model.module.to(device.torch),
        batch.pictures,
        model.preprocessing,
        device,
        views=recipe.evaluation.views,
    ).cpu()
    guesses, truths = logs.argmax(1).tolist(), batch.labels.tolist()
    images, names = batch.pictures.cpu().numpy(), model.classes
    titles = [
        names[g] if g == t else f"{names[g]}\nis {names[t]}"
        for g, t in zip(guesses, truths, strict=True)
    ]
    colours = [RIGHT if g == t else WRONG for g, t in zip(guesses, truths, strict=True)]
    ranked = [(r.label, r.probability) for r in rank(logs[0].exp(), names, top=5)]
    actual = names[truths[0]]
    files, number = dataset.names(part_in(dataset, plan.test)), int(batch.indices[0])
    say(
        f"one test picture ({files[number] if files else f'number {number}'}): predicted {ranked[0][0]} "
        f"({ranked[0][1]:.1%}), actual {actual}"
    )
    return [
        plot_samples(
            images,
            titles,
            folder / GRID,
            colours=colours,
            title=f"{recipe.name}: predicted",
        ),
        plot_prediction(images[0], ranked, folder / PREDICTION, actual=actual),
        _write_picture(images[0], folder / PICTURE),
    ]


def _write_picture(image: NDArray[np.uint8], path: Path) -> Path:
    """Write the picture itself, so that there is a file to try `alexnet predict` on."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return write_whole(path, stream.getvalue())
