"""What a run leaves behind in its folder, from the first file to the recorded result.

::

    RUN/
      recipe.toml        every key, also those left at their defaults
      environment.json   hardware, versions, threads; command, commit and date of the beginning
      splits.json        which pictures were for what
      statistics.safetensors   of the training split, where the recipe needs them
      intake.json, .txt  of photographs: what was found in them, and which are on both sides of the cut
      metrics.jsonl      a line an epoch
      left-out.csv       of a kernel machine: what it would have said of each training picture without it
      checkpoints/, LAST, BEST
      result.json        written last: what was measured, on what, how long it took
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from operator import ge
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.errors import CheckpointError, DataError, UsageError
from alexnet.evaluation import Scores
from alexnet.recipe import Recipe
from alexnet.run import checkpoint, folders, log
from alexnet.run.device import environment, peak_memory
from alexnet.run.files import read_json, write_text
from alexnet.run.log import ENVIRONMENT, RECIPE, RESULT, SPLITS
from alexnet.run.stamp import commit, today
from alexnet.training import estimate, intake, measured, scoring
from alexnet.training.saving import Progress
from alexnet.training.stage import Stage


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run: its folder, its recipe, and its recorded figures (result.json)."""

    folder: Path
    recipe: Recipe
    record: dict[str, Any]

    def __repr__(self) -> str:
        """Say in a line what was reached: a notebook shows it below the cell."""
        test = self.record["test"]
        reached = f"{test['accuracy']:.2%} of {test['count']:,} test pictures"
        return f"<{self.recipe.name}: {reached}, in {self.folder}>"

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the epochs' figures, one mapping an epoch, as in metrics.jsonl."""
        return list(self.record["history"])

    @property
    def solved(self) -> bool:
        """Say whether it was solved at once (``ridge``): it has no curves then."""
        return any("left_out_loss" in line for line in self.history)


def open_folder(folder: Path, stage: Stage, command: str, console: log.Console) -> None:
    """Write what is known before the first step; a folder of the same run is left as it is.

    ``console`` is told of photographs that are on both sides of the run's own cut.
    """
    text = recipes.to_toml(stage.recipe)
    begun = (folder / RECIPE).is_file()
    if begun and read_recipe(folder) != stage.recipe:  # not by its text: keys are added with time
        raise UsageError(f"{folder} holds another run; choose another --out")
    if begun:
        refuse_other_data(folder, stage.dataset)
    else:
        folders.clear_remains(folder)
    if stage.statistics is not None and not (folder / measured.STATISTICS).is_file():
        measured.keep(folder, stage.statistics)
    if begun:
        return
    (folder / "checkpoints").mkdir(exist_ok=True)
    _write_json(
        folder / ENVIRONMENT,
        {
            **environment(stage.device),
            "computing": stage.computing.to_json(),
            "command": command,
            "commit": commit(),
            "date": today(),
        },
    )
    chosen = {"train": stage.train, "validation": stage.validation, "test": stage.test}
    indices = {name: part.chosen.tolist() for name, part in chosen.items() if part is not None}
    data = {
        "data": stage.dataset.name,
        "fingerprint": stage.dataset.fingerprint,
        "indices": indices,
    }
    write_text(folder / SPLITS, json.dumps(data))
    intake.keep(folder, stage, console)
    write_text(folder / RECIPE, text)  # last: it marks the folder as a run


def note_machine(folder: Path, stage: Stage, progress: Progress, console: log.Console) -> None:
    """Tell of a run that goes on with another machine, precision or torch, and note it beside the first."""
    begun, now = read_json(folder / ENVIRONMENT), _machine(environment(stage.device))
    known = begun.get("machines", [_machine(begun)])
    if not progress.step or known == [now]:
        return
    others = (f"{key} {was}, now {now[key]}" for key, was in known[0].items() if was != now[key])
    if told := "; ".join(others):
        console.say(
            f"warning: this run began with {told}: it will not end as it would have there, and its "
            f"{RESULT} names both"
        )
    if now not in known:
        _write_json(folder / ENVIRONMENT, {**begun, "machines": [*known, now]})


def _machine(around: Mapping[str, Any]) -> dict[str, str]:
    """Return what of an ``environment`` decides a result; of the device, its kind."""
    return {
        **{key: around[key] for key in ("hardware", "precision")},
        "device": around["device"].partition(":")[0],
        "torch": around["packages"]["torch"],
    }


def refuse_other_data(folder: Path, dataset: Dataset) -> None:
    """Raise ``DataError`` unless a run's data set holds the very pictures that it began with."""
    began = read_json(folder / SPLITS).get("fingerprint")
    if began != dataset.fingerprint:
        raise DataError(
            f"{folder} began with {dataset.name} of fingerprint {began}, but the data now has "
            f"{dataset.fingerprint}; point --data at the first, or start a new run"
        )


def is_begun(folder: Path) -> bool:
    """Say whether a folder holds a run."""
    return (folder / RECIPE).is_file()


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run. Raises ``CheckpointError`` for a folder that holds none."""
    if not (folder / RECIPE).is_file():
        raise CheckpointError(f"{folder} holds no run: it has no {RECIPE}")
    return recipes.parse((folder / RECIPE).read_text(encoding="utf-8"), origin=str(folder / RECIPE))


def read_result(folder: Path) -> Result:
    """Return a finished run. Raises ``CheckpointError`` for one that is not finished."""
    recipe = read_recipe(folder)
    if not (folder / RESULT).is_file():
        raise CheckpointError(
            f"{folder} is not finished; `{log.resume_command(folder)}` goes on with it"
        )
    return Result(folder, recipe, read_json(folder / RESULT))


def finish(
    stage: Stage,
    folder: Path,
    console: log.Console,
    *,
    progress: Progress,
    rate_before: float,
) -> Result:
    """Score the chosen weights on the test split, once, and write result.json.

    Of several ranks, the first one writes, and all return what it wrote.
    """
    ranks = stage.parallel.ranks
    rate = (rate_before + stage.device.matrix_rate()) / 2
    rate = float(ranks.gather([rate]).sum())
    if stage.recipe.evaluation.keep == "best":  # saved before the ranks met above
        best = checkpoint.best(folder)
        checkpoint.load_weights(stage.predictor, stage.parallel.own(best.weights), str(best.path))
    scores = stage.score(stage.test)
    views = {name: each.summary() for name, each in scoring.views(stage, scores).items()}
    if ranks.main:
        _write_json(folder / RESULT, _record(stage, folder, scores, views, progress, rate))
    ranks.wait()
    return read_result(folder)


def _record(
    stage: Stage,
    folder: Path,
    scores: Scores,
    views: dict[str, dict[str, Any]],
    progress: Progress,
    rate: float,
) -> dict[str, Any]:
    begun = read_json(folder / ENVIRONMENT)
    return {
        "recipe": stage.recipe.name,
        "command": begun.get("command", ""),
        "seed": stage.recipe.train.seed,
        "changed": recipes.changes(stage.recipe),
        "settings": recipes.to_tree(stage.recipe),
        "test": scores.to_json(),
        "test_views": views,
        "scored": scoring.peculiarities(stage, scores),
        **intake.told(folder),
        "verdict": verdict(stage.recipe, scores),
        "speed": {
            **speed(stage, progress.seconds, rate, progress.step),
            "waiting_share": progress.waited / progress.seconds,  # for pictures, of rank 0
            "ranks": progress.ranks,
            "computing": stage.computing.to_json(),
        },
        "memory": estimate.record(stage.memory, stage.device),  # of rank 0
        "environment": environment(stage.device),
        "commit": commit(),
        "date": today(),
        # A remark by `alexnet note`; the machines that took part, where they were several.
        **{key: begun[key] for key in ("note", "machines") if key in begun},
        "history": log.read_metrics(folder / log.METRICS),
    }


def speed(stage: Stage, seconds: float, rate: float, steps: int) -> dict[str, Any]:
    """Return what the training cost; ``stage.multiply_adds`` says which multiply-adds count.

    ``rate``: the matrix rate of all ranks together.
    """
    plan = stage.recipe.train
    full, rest = divmod(steps, stage.steps_per_epoch)
    per_epoch = min(len(stage.train), stage.steps_per_epoch * plan.batch)
    pictures = len(stage.train) if stage.solves else full * per_epoch + rest * plan.batch
    work = round(stage.multiply_adds(range(steps)) * pictures)
    return {
        "training_seconds": seconds,
        "pictures": pictures,
        "images_per_second": pictures / seconds,
        "training_multiply_adds": work,
        "matrix_rate_flops": rate,
        "share_of_matrix_rate": 2 * work / seconds / rate,
        "peak_memory_bytes": peak_memory(),
    }


def verdict(recipe: Recipe, scores: Scores) -> dict[str, Any] | None:
    """Set our test accuracy beside the published one, where the recipe names one of the same data.

    ``met``: whether ours falls short of theirs, top-1 and top-3 where it was published, by no more
    than the tolerance; None for a run whose recipe was changed: that is not the published protocol.
    """
    published = recipes.compared(recipe)
    if published is None or published.test_accuracy is None:
        return None
    least = [
        theirs - published.tolerance
        for theirs in (published.test_accuracy, published.test_top3)
        if theirs is not None
    ]
    ours = (scores.accuracy, scores.top.get(3, 0.0))
    return {
        "published": published.test_accuracy,
        "measured": scores.accuracy,
        "difference": scores.accuracy - published.test_accuracy,
        "tolerance": published.tolerance,
        "published_top3": published.test_top3,
        "measured_top3": scores.top.get(3),
        "met": None if recipes.changes(recipe) else all(map(ge, ours, least)),
        "interval": list(scores.interval),  # as JSON gives it back
        "published_loss": published.test_loss,
        "measured_loss": scores.loss,
        "published_seconds_per_epoch": published.seconds_per_epoch,
        "published_training_seconds": published.training_seconds,
        "published_hardware": published.hardware,
        "protocol": published.protocol,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
