"""Records kept: what a run reached, or how far it came, and remarks on either. No torch here.

::

    RECORDS/
      NAME.json              a run's result.json
      unfinished/NAME.json   of one that did not end: its curve and its time, no test figure
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.errors import CheckpointError, UsageError
from alexnet.reporting.unfinished import FOLDER
from alexnet.run.files import read_json, write_text
from alexnet.run.log import (
    ENVIRONMENT,
    METRICS,
    RECIPE,
    RESULT,
    read_metrics,
    resume_command,
)

_RUN, _BENCHMARK = {"recipe", "environment", "history"}, {"suite", "rows", "environment"}
_OF_THE_RUN = ("commit", "date", "note", "machines")  # in its environment.json, of no one machine


def keep(run: Path, path: Path, why: str = "") -> Path:
    """Write the record of a run to a file that is not there yet; ``why``: it did not end.

    Raises ``UsageError`` for a file that no such record can have and for a reason that is missing or
    too much, ``CheckpointError`` for a folder without a run or without a whole epoch.
    """
    ended = (_begun(run) / RESULT).is_file()
    if ended and why:
        raise UsageError(f"{run} has ended; --why is for a run that did not")
    _refuse_bad_name(path, ended)
    found = read_json(run / RESULT) if ended else _unfinished(run, _one_line(why))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, found)
    return path


def _begun(run: Path) -> Path:
    if not (run / RECIPE).is_file():
        raise CheckpointError(f"{run} holds no run: it has no {RECIPE}")
    return run


def _refuse_bad_name(path: Path, ended: bool) -> None:
    if path.suffix != ".json":
        raise UsageError(f"{path}: a record is a JSON file; e.g. results/{path.name}.json")
    if path.exists():
        raise UsageError(f"{path} is there already; choose another name, or remove it first")
    if ended and path.parent.name == FOLDER:
        raise UsageError(f"{path}: the run has ended; keep it as {path.parent.parent / path.name}")
    if not ended and path.parent.name != FOLDER:
        raise UsageError(
            f"{path}: a run that did not end is kept as {path.parent / FOLDER / path.name}"
        )


def _unfinished(run: Path, why: str) -> dict[str, Any]:
    if not why:
        raise UsageError(f"{run} did not end: say --why, or go on with it, `{resume_command(run)}`")
    around, history = read_json(run / ENVIRONMENT), read_metrics(run / METRICS)
    if not history:
        raise CheckpointError(
            f"{run} has no whole epoch to tell of; `{resume_command(run)}` goes on with it"
        )
    plan = recipes.parse((run / RECIPE).read_text(encoding="utf-8"), origin=str(run / RECIPE))
    machine = {k: v for k, v in around.items() if k not in ("command", "computing", *_OF_THE_RUN)}
    return {
        "recipe": plan.name,
        "command": around.get("command", ""),
        "seed": plan.train.seed,
        "changed": recipes.changes(plan),
        "settings": recipes.to_tree(plan),
        "stopped": {**_how_far(plan, history[0]["step"], history[-1]), "why": why},
        "speed": {
            "training_seconds": history[-1]["seconds"],
            **{key: around[key] for key in ("computing",) if key in around},
        },
        "environment": machine,
        **{key: around[key] for key in _OF_THE_RUN if key in around},
        "history": history,
    }


def _how_far(plan: recipes.Recipe, per_epoch: int, last: Mapping[str, Any]) -> dict[str, int]:
    """Return whole epochs and their steps, each with what the recipe asked for."""
    steps = plan.train.epochs.steps(steps_per_epoch=per_epoch, batch=plan.train.batch)
    epochs = math.ceil(steps / per_epoch)
    return {"epoch": last["epoch"], "epochs": epochs, "step": last["step"], "steps": steps}


def annotate(where: Path, remark: str) -> Path:
    """Put a remark into a record, or into a run that goes on, whose record will have it.

    ``where``: a file of a run's or a benchmark's record, or a run's folder. An empty remark takes it
    out. Returns the file. Raises ``CheckpointError`` for a file that is no record.
    """
    path = _noted_file(where) if where.is_dir() else where
    found = read_json(path)
    if not where.is_dir() and not (found.keys() >= _RUN or found.keys() >= _BENCHMARK):
        raise CheckpointError(f"{path} is no record of a run or of `alexnet bench`")
    rest = {key: value for key, value in found.items() if key != "note"}
    note = _one_line(remark)
    _write(path, {**rest, "note": note} if note else rest)
    return path


def _noted_file(run: Path) -> Path:
    return run / (RESULT if (_begun(run) / RESULT).is_file() else ENVIRONMENT)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _write(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
