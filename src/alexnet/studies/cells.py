"""The cells of a study, one training run each: which recipe, which folder, how far it is. No torch.

::

    OUT/
      study.json, study.md     what came out, written after every cell
      ROW/seed-0/              an ordinary run, as `alexnet train` leaves it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet import plain
from alexnet import recipe as recipes
from alexnet.data.sources import full_name
from alexnet.errors import CheckpointError, RecipeError, UsageError
from alexnet.recipe import Recipe
from alexnet.run.files import read_json
from alexnet.run.log import METRICS, RECIPE, RESULT, read_metrics
from alexnet.studies.plan import Line, Study

RECORDED = {"test_views", "speed", "environment", "commit", "date", "changed"}
SPLITS = ("data.train", "data.validation", "data.test")


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    row: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def is_begun(self) -> bool:
        """Say whether its folder holds a run, finished or not."""
        return (self.folder / RECIPE).is_file()

    @property
    def is_finished(self) -> bool:
        """Say whether its run has its result."""
        return self.is_begun and (self.folder / RESULT).is_file()

    def progress(self) -> str:
        """Return in words how far it is."""
        if not self.is_begun or self.is_finished:
            return "finished" if self.is_finished else "missing"
        lines = read_metrics(self.folder / METRICS)
        return f"unfinished, step {lines[-1]['step']}" if lines else "unfinished"

    def result(self) -> dict[str, Any]:
        """Return the record of a finished run. Raises ``CheckpointError`` for one that lacks figures."""
        found = read_json(self.folder / RESULT)
        if missing := RECORDED - found.keys():
            raise CheckpointError(
                f"{self.folder / RESULT} has no {', '.join(sorted(missing))}: it is damaged, or of an "
                f"older version. Remove {self.folder} to train it again"
            )
        return found


def cells(
    study: Study,
    out: Path,
    *,
    seeds: Iterable[int] = (),
    changes: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Return every run of a study, by seed and then by row, so that a stopped study is balanced.

    The seeds are the study's, ``seeds``, and those that ``out`` has runs of already. ``changes``:
    recipe keys over those of the study. Raises ``UsageError`` for settings that do not fit.
    """
    rows = [row for row in study.row if not row.of]
    every = [
        Cell(row.name, seed, planned(study, row, seed, changes), out / row.name / f"seed-{seed}")
        for seed in dict.fromkeys((*study.seeds, *seeds, *_there(out, rows)))
        for row in rows
    ]
    for row in study.row:
        _refuse_unscored(study, row, every)
    return every


def _there(out: Path, rows: Iterable[Line]) -> list[int]:
    folders = (path for row in rows for path in (out / row.name).glob("seed-*"))
    return sorted({int(n) for path in folders if (n := path.name.removeprefix("seed-")).isdigit()})


def chosen(
    study: Study, every: Iterable[Cell], *, seeds: Iterable[int] = (), only: Iterable[str] = ()
) -> list[Cell]:
    """Return the cells of these seeds (none: the study's) and these rows (none: all).

    Raises ``UnknownName`` for a row that the study has not.
    """
    rows = {study.trained(study.line(name)).name for name in only}
    numbers = set(seeds) or set(study.seeds)
    return [c for c in every if c.seed in numbers and (c.row in rows or not rows)]


def planned(study: Study, row: Line, seed: int, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of one row and seed. Raises ``RecipeError`` naming the row."""
    settings = {**dict(recipes.flat(study.set)), **dict(recipes.flat(row.set)), **(changes or {})}
    if "train.seed" in settings:
        raise RecipeError(
            f"study {study.name}, row {row.name}: train.seed = {settings['train.seed']!r} is set, "
            "but a study gives every run its seed; name them by `seeds` or --seeds"
        )
    try:
        recipe = recipes.load(row.recipe or study.recipe)
        return recipes.override(recipe, {**settings, "train.seed": seed})
    except UsageError as error:
        raise RecipeError(f"study {study.name}, row {row.name}: {error}") from None


def views_of(study: Study, row: Line, recipe: Recipe) -> str:
    """Return the views in which a row is compared with the others."""
    return row.views or study.views or recipe.evaluation.views


def _refuse_unscored(study: Study, row: Line, every: Iterable[Cell]) -> None:
    for cell in every:
        if cell.row == study.trained(row).name:
            plan = cell.recipe.evaluation
            views, scored = views_of(study, row, cell.recipe), {plan.views, *plan.also}
            if views not in scored:
                raise RecipeError(
                    f"study {study.name}, row {row.name}: its runs are scored in "
                    f"{', '.join(sorted(scored))}, not in {views!r}; add it to evaluation.also"
                )


def refuse_others(every: Iterable[Cell]) -> None:
    """Raise ``UsageError`` where a cell's folder holds a run of another recipe: it says what differs."""
    for cell in every:
        if cell.is_begun and (found := list(_differences(cell))):
            raise UsageError(
                f"{cell.folder} holds a run of another recipe: {'; '.join(found)}. Choose another "
                "--out, or remove that folder to train it again"
            )


def _differences(cell: Cell) -> Iterator[str]:
    kept = recipes.load(str(cell.folder / RECIPE))
    there, here = (dict(recipes.flat(recipes.to_tree(r))) for r in (kept, cell.recipe))
    for tree in (there, here):
        tree["data.name"] = full_name(str(tree["data.name"]))
    cut_by_data = {key for key in SPLITS if here.get(key) == "auto"}
    settled = cut_by_data | ({"data.split"} if cut_by_data else set())
    for key in plain.differing(there, here):
        if not key.startswith(plain.PROSE) and key not in settled:
            yield f"{key} is {there.get(key)!r} there and {here.get(key)!r} in the study"
