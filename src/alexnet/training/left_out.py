"""What a kernel machine would have said of each training picture without it, as a table in the run's folder.

First come the pictures whose own class it would have given the least: labels and pictures to look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.data.splits import part_in
from alexnet.evaluation import Answers
from alexnet.run.tables import write_csv

if TYPE_CHECKING:
    from alexnet.training.stage import Stage

TABLE = "left-out.csv"
COLUMNS = ("index", "name", "true", "predicted", "probability", "probability_of_true")


def write(stage: Stage, said: Answers, folder: Path) -> str:
    """Write a line for each training picture, and return what is to be told of them.

    ``said``: in the order of the training split. Columns are those of ``reporting.answers`` and the
    probability of the true class, 0..1, by which the lines are sorted, the least first. Raises ``DataError``.
    """
    classes, chosen = stage.dataset.classes, stage.train.chosen.tolist()
    names = stage.dataset.names(part_in(stage.dataset, stage.recipe.data.train))
    best, guesses = said.logs.exp().max(1)
    own = said.logs.gather(1, said.labels[:, None])[:, 0].exp()
    rows = [
        (
            chosen[i],
            names[chosen[i]] if names else "",
            classes[int(said.labels[i])],
            classes[int(guesses[i])],
            f"{float(best[i]):.6f}",
            f"{float(own[i]):.6f}",
        )
        for i in own.argsort(stable=True).tolist()
    ]
    write_csv(folder / TABLE, COLUMNS, rows)
    others = int((guesses != said.labels).sum())
    return (
        f"{TABLE}: what it would have said of each training picture without it, {others:,} of "
        f"{len(rows):,} otherwise than labelled; the most doubtful first"
    )
