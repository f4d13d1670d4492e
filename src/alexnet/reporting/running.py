"""A run from its recipe to its pictures: what ``train`` and ``resume`` have in common."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.data.photos.folders import refuse_no_place
from alexnet.data.sources import full_name, open_dataset
from alexnet.errors import DataError, UsageError
from alexnet.recipe import Recipe
from alexnet.reporting.run_pictures import draw, missing
from alexnet.run import folders
from alexnet.run.classifier import load as load_classifier
from alexnet.run.device import Device, choose, prepare_process
from alexnet.run.launch import place
from alexnet.run.log import Console
from alexnet.run.ranks import joined
from alexnet.training.loop import fit
from alexnet.training.record import Result, refuse_other_data


def planned(recipe: str | Recipe, override: Mapping[str, Any], console: Console) -> Recipe:
    """Return the recipe that is meant: a name, a .toml file, photographs, or one that is ready.

    A data set of one's own (``data.arrays``) is named by ``data.name``, a path in full whatever was
    given: a run may be resumed from another folder. Raises ``UsageError``.
    """
    changes = dict(override)
    if isinstance(recipe, str) and _is_photographs(recipe):
        refuse_no_place(Path(recipe).expanduser())
        if other := changes.get("data.name"):
            raise UsageError(
                f"{recipe} and {other}: photographs are from one place; name a recipe before it, e.g. "
                f"photos-kernel {other}"
            )
        console.say(
            "the recipe photos: a whole network from nothing. On ImageNet's convolutions, solved at once: "
            f"alexnet train photos-kernel {shlex.quote(recipe)}"
        )
        changes, recipe = {**changes, "data.name": recipe}, "photos"
    if isinstance(recipe, str) and recipe in recipes.names() and Path(recipe).is_dir():
        console.say(f"the recipe {recipe}; for the folder of that name, write {recipe}/")
    plan = recipes.load(recipe) if isinstance(recipe, str) else recipe
    plan = recipes.override(plan, changes)
    return recipes.override(plan, {"data.name": full_name(plan.data.name)})


def _is_photographs(name: str) -> bool:
    there = os.path.exists(Path(name).expanduser()) and not name.endswith(".toml")
    return there and name not in recipes.names()


def train_and_draw(
    plan: Recipe,
    out: str | Path | None,
    device: str,
    data_root: str | Path | None,
    console: Console,
    command: str,
) -> Result:
    """Train ``plan`` in the folder ``out``, or in a new one under ``runs/``, and draw its pictures.

    Raises ``UsageError`` for a folder that holds anything.
    """
    with ExitStack() as held:

        def choose_folder(attempt: int) -> str:
            new = (
                held.enter_context(folders.new_folder(plan.name))
                if out is None
                else Path(out).expanduser()
            )
            if not attempt:  # else torchrun started again what it had begun in this very folder
                folders.refuse_taken(new)
            return str(new)

        return run_and_draw(plan, choose_folder, device, data_root, console, command)


def run_and_draw(
    plan: Recipe,
    choose_folder: Callable[[int], str],
    device: str,
    data_root: str | Path | None,
    console: Console,
    command: str,
) -> Result:
    """Train ``plan`` to its end in the folder that is chosen, and draw the pictures of the run.

    ``choose_folder`` takes the number of times that torchrun has begun again. Of several processes,
    the first one draws.
    """
    prepare_process()
    root = Path(data_root).expanduser() if data_root is not None else None
    with joined(choose(device, plan.train.precision)) as (ranks, chosen):
        attempt = ranks.place.attempt
        folder = Path(ranks.decide("folder", lambda: choose_folder(attempt)))
        result = fit(
            plan, folder, device=chosen, root=root, console=console, command=command, ranks=ranks
        )
    if ranks.main:
        _draw(result, chosen, root, console)
    return result


def draw_missing(
    result: Result, device: str, data_root: str | Path | None, console: Console
) -> Result:
    """Draw the pictures of a finished run that was stopped before they were all there; return the run.

    Of several processes, the first one draws.
    """
    if missing(result) and not place().rank:
        prepare_process()
        root = Path(data_root).expanduser() if data_root is not None else None
        _draw(result, choose(device, result.recipe.train.precision), root, console)
    return result


def _draw(result: Result, device: Device, root: Path | None, console: Console) -> None:
    dataset = _unchanged(result, root, console)
    model = load_classifier(result.folder, say=console.say)
    for path in draw(result, model, dataset, device, console.say):
        console.say(f"wrote {path}")


def _unchanged(result: Result, root: Path | None, console: Console) -> Dataset | None:
    """Open a run's data; None, which is said, where it has other pictures than those that were tested."""
    plan = result.recipe
    dataset = open_dataset(
        plan.data.name,
        root=root,
        size=plan.data.size,
        fit=plan.data.fit,
        say=console.say,
        quiet=console.quiet,
    )
    try:
        refuse_other_data(result.folder, dataset)
    except DataError as error:
        console.say(f"warning: no test picture is drawn: {error}")
        return None
    return dataset
