"""Running what is missing of a study, cell after cell, each an ordinary training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import Interrupted, NotFinite
from alexnet.recipe import Recipe
from alexnet.studies.cells import Cell

Train = Callable[[Recipe, Path], Any]
Resume = Callable[[Path], Any]


@dataclass(frozen=True)
class Verbs:
    """How to train in a new folder, to go on in a begun one, and to tell a person."""

    train: Train
    resume: Resume
    say: Callable[[str], None]
    finished: Callable[[], object]  # called after every cell


def run_missing(every: Sequence[Cell], verbs: Verbs, command: str) -> list[str]:
    """Run every cell that is not finished; returns a line for each whose loss became no number.

    Raises ``Interrupted``, with the ``command`` that goes on, where it was asked to stop.
    """
    waiting = [cell for cell in every if not cell.is_finished]
    failed = []
    for number, cell in enumerate(waiting, start=1):
        verbs.say(f"[{number}/{len(waiting)}] {cell.row}, seed {cell.seed}: {cell.progress()}")
        try:
            _run(cell, verbs)
        except NotFinite as error:
            failed.append(f"{cell.row}, seed {cell.seed}: {error}")
            verbs.say(failed[-1])
        except Interrupted as error:
            saved = str(error).partition(" Go on with")[0]
            raise Interrupted(
                f"{cell.row}, seed {cell.seed}: {saved} Go on with the study by\n  {command}",
                error.exit_code,
            ) from None
        verbs.finished()
    return failed


def _run(cell: Cell, verbs: Verbs) -> None:
    if cell.is_begun:
        verbs.resume(cell.folder)
    else:
        verbs.train(cell.recipe, cell.folder)


def finished(every: Iterable[Cell]) -> list[Cell]:
    """Return the cells that have their result."""
    return [cell for cell in every if cell.is_finished]
