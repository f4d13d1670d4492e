"""What models said of each picture, as a table for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet.errors import UsageError
from alexnet.evaluation import Answers
from alexnet.prediction import Ranked
from alexnet.run.named import Named
from alexnet.run.tables import write_csv

RANKED = ("name", "predicted", "probability")
COLUMNS = ("index", "name", "true", "predicted", "probability")


def table_path(path: str | Path) -> Path:
    """Return where a table goes. Raises ``UsageError`` for a name that does not end in ``.csv``."""
    if Path(path).suffix.lower() != ".csv":
        raise UsageError(f"{path}: predictions are written as CSV; give a name that ends in .csv")
    return Path(path).expanduser()


def write_answers(said: Answers, of: Named, path: Path) -> None:
    """Write a line for each picture: its number within the part of the data set, its file, its class,
    the class that is most probable, and how probable that is, 0..1.

    Answers are into the classes that labels are. ``name`` is empty where pictures came from no files. Written, and raises, as ``tables.write_csv``.
    """
    best, guesses = said.logs.max(1)
    files = of.files() or [""] * len(of.source)
    rows = zip(
        of.source.chosen.tolist(),
        files,
        [of.classes[label] for label in said.labels.tolist()],
        [of.classes[guess] for guess in guesses.tolist()],
        [f"{p:.6f}" for p in best.exp().tolist()],
        strict=True,
    )
    write_csv(path, COLUMNS, rows)


def write_rankings(found: Mapping[str, Sequence[Ranked]], path: Path) -> Path:
    """Write a line for each picture: its file, the class that is most probable, and how probable that is.

    As ``write_answers`` does; return the path. Raises ``DataError`` where it cannot be written.
    """
    best = ((name, ranked[0]) for name, ranked in found.items())
    write_csv(path, RANKED, [(name, r.label, f"{r.probability:.6f}") for name, r in best])
    return path
