"""Recorded runs that did not end: how far each came, on what, and why it stopped. No torch here.

Their records lie in a folder ``unfinished`` of the records (``keeping``). They have no test figure:
the test part is scored once, at the end of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import DataError
from alexnet.reporting.marked import Table
from alexnet.reporting.recorded import read_record, titled
from alexnet.run.log import minutes

FOLDER, PACKAGED = "unfinished", "unfinished.json"
NEEDED = {"recipe", "changed", "seed", "stopped", "speed", "environment", "history"}


@dataclass(frozen=True)
class Unfinished:
    """One run, up to the end of its last whole epoch.

    ``accuracy``: a share of right answers, 0 to 1, on ``part``: ``validation``, else ``training``.
    """

    recipe: str
    changed: Mapping[str, Any]  # from the recipe of that name, by dotted key
    seed: int
    hardware: str
    epoch: int  # whole epochs done, of ``epochs``
    epochs: int
    part: str
    accuracy: float
    seconds: float  # of training alone
    why: str
    note: str

    @property
    def title(self) -> str:
        """Name it, with what was changed."""
        return titled(self.recipe, self.changed)

    @property
    def far(self) -> str:
        """Say how far it came: ``stopped after 46 of 50 epochs, validation accuracy 71.07 %``."""
        reached = f"{self.part} accuracy {100 * self.accuracy:.2f} %"
        return f"stopped after {self.epoch} of {self.epochs} epochs, {reached}"

    @property
    def sentence(self) -> str:
        """Tell all of it."""
        remark = f" ({self.note})" if self.note else ""
        return (
            f"`{self.title}`, seed {self.seed}, {self.far}, in {minutes(self.seconds)} on "
            f"{self.hardware}{remark}: {self.why}."
        )


def read_unfinished(folder: Path) -> list[Unfinished]:
    """Read those under ``folder``/unfinished, by title and seed; raises ``DataError`` for other files."""
    paths = sorted((folder / FOLDER).glob("*.json"))
    return sorted(map(_read, paths), key=lambda run: (run.title, run.seed))


def _read(path: Path) -> Unfinished:
    record = read_record(path, NEEDED)
    try:
        return _of(record)
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path} is not a record of a run that did not end: {error!r}") from None


def _of(record: Mapping[str, Any]) -> Unfinished:
    part, accuracy = _last_accuracy(record["history"])
    return Unfinished(
        recipe=record["recipe"],
        changed=dict(record["changed"]),
        seed=record["seed"],
        hardware=record["environment"]["hardware"],
        epoch=record["stopped"]["epoch"],
        epochs=record["stopped"]["epochs"],
        part=part,
        accuracy=accuracy,
        seconds=record["speed"]["training_seconds"],
        why=record["stopped"]["why"],
        note=record.get("note", ""),
    )


def _last_accuracy(history: Sequence[Mapping[str, Any]]) -> tuple[str, float]:
    """Return on which pictures it was scored last, and the share of right answers."""
    validated = [line["val_accuracy"] for line in history if "val_accuracy" in line]
    if validated:
        return "validation", validated[-1]
    return "training", history[-1]["train_accuracy"]


def table(found: Sequence[Unfinished]) -> Table:
    """Return a row for each run."""
    return Table([_row(run) for run in found], [run.note for run in found])


def _row(run: Unfinished) -> dict[str, str]:
    return {
        "recipe": run.title,
        "seed": str(run.seed),
        "epochs": f"{run.epoch} of {run.epochs}",
        "accuracy so far": f"{run.part} {100 * run.accuracy:.2f} %",
        "training": minutes(run.seconds),
        "why": run.why,
        "hardware": run.hardware,
    }


def furthest(
    recipe: str, changed: Mapping[str, Any], found: Sequence[Unfinished]
) -> Unfinished | None:
    """Return the run of a recipe, changed like this, that came furthest; None where there is none."""
    of = [run for run in found if run.recipe == recipe and dict(run.changed) == dict(changed)]
    return max(of, key=lambda run: run.epoch, default=None)


def packaged_unfinished() -> list[Unfinished]:
    """Return what was recorded when this version was made."""
    text = Path(__file__).with_name(PACKAGED).read_text(encoding="utf-8")
    return [Unfinished(**run) for run in json.loads(text)]


def to_json(found: Sequence[Unfinished]) -> str:
    """Write the text of ``unfinished.json``: ``packaged_unfinished`` gives the same again."""
    return json.dumps([asdict(run) for run in found], indent=1, ensure_ascii=False) + "\n"
