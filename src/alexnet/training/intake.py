"""What a run keeps of its photographs: what their intake found, and which are on both sides of its own cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.data.photos import report_text
from alexnet.data.photos.crossing import in_two_splits
from alexnet.data.splits import part_in
from alexnet.run.files import read_json, write_text
from alexnet.run.log import INTAKE, INTAKE_TEXT, Console

if TYPE_CHECKING:
    from alexnet.training.stage import Stage


def keep(folder: Path, stage: Stage, console: Console) -> None:
    """Write intake.json and intake.txt of a run on photographs, and warn of those on both sides of its cut."""
    report = stage.dataset.report()
    if report is None:
        return
    report["in_two_splits"] = found = _in_two_splits(stage)
    if found:
        console.say("\n".join(report_text.crossing(found)))
    write_text(folder / INTAKE, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / INTAKE_TEXT, report_text.render(report) + "\n")


def _in_two_splits(stage: Stage) -> list[dict[str, Any]] | None:
    plan, dataset = stage.recipe.data, stage.dataset
    named = {
        "train": (plan.train, stage.train),
        "validation": (plan.validation, stage.validation),
        "test": (plan.test, stage.test),
    }
    splits = {
        role: (part_in(dataset, text), source.chosen)
        for role, (text, source) in named.items()
        if source is not None
    }
    return in_two_splits(dataset, splits)


def told(folder: Path) -> dict[str, int]:
    """Return how many photographs are on both sides of a run's cut, for its record; nothing where
    they were not looked for.
    """
    path = folder / INTAKE
    found = read_json(path).get("in_two_splits") if path.is_file() else None
    return {} if found is None else {"in_two_splits": len(found)}
