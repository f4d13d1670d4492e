"""Recorded runs, those of one protocol on one machine taken together. Nothing here imports torch.

What a run's recipe differs in is told of the recipe that has its name today: one that was changed since is a
row of its own, with what it was then.

A record is a run's result.json, kept under any name in one folder of a checkout. What is known of
them is packaged as well (``recorded.json``), so that an installed ``alexnet show`` can tell it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import DataError, RecipeError
from alexnet.intervals import wilson

PACKAGED = "recorded.json"
NEEDED = {"recipe", "changed", "seed", "test", "speed", "environment"}


@dataclass(frozen=True)
class Recorded:
    """Runs of one recipe, alike but for their seeds, on one kind of machine.

    ``accuracies`` are the runs' shares of right answers among the ``pictures`` that each was scored
    on; all other figures are means over the runs. ``seconds`` are of training alone.
    """

    recipe: str
    changed: Mapping[str, Any]  # from the recipe of that name, by dotted key
    hardware: str
    accuracies: tuple[float, ...]
    top3: float | None
    loss: float | None
    pictures: int
    epochs: int
    trained: float  # pictures, over all epochs
    seconds: float
    images_per_second: float
    multiply_adds: float  # of the training
    share: float  # of the matrix rate
    val_accuracy: float | None  # after the last epoch
    command: str  # of the first
    precision: str = ""  # of the training: bf16, float32, tf32
    note: str = ""  # a remark on them
    # Their accuracy, a mean too, by each of the other views that all of them were scored in.
    besides: Mapping[str, float] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Return the number of runs."""
        return len(self.accuracies)

    @property
    def accuracy(self) -> float:
        """Return the mean share of right answers, 0 to 1."""
        return _mean(self.accuracies)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of ``accuracy`` over one test part's pictures."""
        return wilson(self.accuracy * self.pictures, self.pictures)

    @property
    def title(self) -> str:
        """Name it, with what was changed: ``keras-lab (train.epochs = 1 epochs)``."""
        return titled(self.recipe, self.changed)


def titled(recipe: str, changed: Mapping[str, Any]) -> str:
    """Name a recipe, with what was changed in it."""
    changes = ", ".join(f"{key} = {value}" for key, value in changed.items())
    return recipe + (f" ({changes})" if changes else "")


def grouped(records: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Put records together that differ by their seed alone, in order of recipe, change, machine.

    Those of before records kept every setting go by what was changed alone.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        changed = ", ".join(f"{k} = {v}" for k, v in record["changed"].items())
        settings = json.dumps(record.get("settings", {}), sort_keys=True)
        key = (record["recipe"], changed, *_machine(record), settings)
        groups.setdefault(key, []).append(record)
    return [group for _, group in sorted(groups.items())]


def _machine(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return the hardware, and in which precision it computed; all of a run that changed over."""
    machines = record.get("machines", [record["environment"]])
    hardware = dict.fromkeys(each["hardware"] for each in machines)
    precision = dict.fromkeys(each.get("precision", "") for each in machines)
    return " and ".join(hardware), " and ".join(precision)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read every record under ``folder``, in order of their names.

    Raises ``DataError`` for a folder without records or a file that is none.
    """
    found = [by_matrix(read_record(path, NEEDED)) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise DataError(f"{folder} holds no record; copy a run's result.json there")
    return found


def read_record(path: Path, needed: Set[str]) -> dict[str, Any]:
    """Read one record, as it is told today (``as_now``). Raises as ``read_checked`` does."""
    return as_now(read_checked(path, needed, "a run"))


def read_checked(
    path: Path, needed: Set[str], what: str, of_a_row: Set[str] = frozenset()
) -> dict[str, Any]:
    """Read a JSON object that has the keys ``needed``, and in each of its ``rows`` those ``of_a_row``.

    Raises ``DataError`` for a file that is none: it is not a record of ``what``.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = record.get("rows", ()) if of_a_row else ()
        missing = set(needed - record.keys()).union(*(of_a_row - row.keys() for row in rows))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is not a record of {what}: {error}") from None
    if missing:
        raise DataError(f"{path} is not a record of {what}: it has no {', '.join(sorted(missing))}")
    return dict(record)


def by_matrix(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with every top-1 of its test pictures as its confusion matrix has it.

    Runs of before 27 November 2026 counted a class as wrong that was as probable as another. In bf16 that
    happens: their accuracies are up to a quarter of a point below what their matrices, by argmax, say.
    """
    views = {name: _top_1(found) for name, found in record.get("test_views", {}).items()}
    return {**record, "test": _top_1(record["test"])} | ({"test_views": views} if views else {})


def _top_1(found: Mapping[str, Any]) -> dict[str, Any]:
    if not (matrix := found.get("confusion")):
        return dict(found)
    right = sum(row[own] for own, row in enumerate(matrix))
    share, top = right / found["count"], found.get("top", {})
    return {**found, "accuracy": share, "top": {**top, **({"1": share} if "1" in top else {})}}


def as_now(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose ``settings`` are those that decide figures, ``changed`` those unlike today's.

    Settings that this version has no more are told by the commit that had them; a record without
    settings is returned as it is.
    """
    if "settings" not in record:
        return dict(record)
    from alexnet import recipe as recipes  # with pydantic, which `alexnet show` does without

    try:
        was = recipes.settled(recipes.check(record["settings"]))
    except RecipeError:
        changed = {**record["changed"], "commit": record.get("commit", "unknown")}
        return {**record, "settings": {}, "changed": changed}
    return {**record, "settings": was, "changed": recipes.changes_since(was, record["recipe"])}


def summaries(records: Iterable[Mapping[str, Any]]) -> list[Recorded]:
    """Take records together, a ``Recorded`` for each recipe, change and machine."""
    return [_together(group) for group in grouped(records)]


def _together(group: Sequence[Mapping[str, Any]]) -> Recorded:
    first, tests = group[0], [record["test"] for record in group]
    hardware, precision = _machine(first)
    return Recorded(
        recipe=first["recipe"],
        changed=dict(first["changed"]),
        hardware=hardware,
        accuracies=tuple(float(test["accuracy"]) for test in tests),
        top3=_mean_if_known([test.get("top", {}).get("3") for test in tests]),
        loss=_mean_if_known([test.get("loss") for test in tests]),
        pictures=first["test"]["count"],
        epochs=len(first["history"]),
        trained=_of_speed(group, "pictures"),
        seconds=_of_speed(group, "training_seconds"),
        images_per_second=_of_speed(group, "images_per_second"),
        multiply_adds=_of_speed(group, "training_multiply_adds"),
        share=_of_speed(group, "share_of_matrix_rate"),
        val_accuracy=_mean_if_known(
            [record["history"][-1].get("val_accuracy") for record in group]
        ),
        command=first.get("command", ""),
        precision=precision,
        note=_note(group),
        besides=_besides(group),
    )


def _besides(group: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean accuracy by each of the views that all of the runs were scored in besides."""
    found, own = [record.get("test_views", {}) for record in group], group[0]["test"].get("views")
    common = [views for views in found[0] if views != own and all(views in each for each in found)]
    return {views: _mean([each[views]["accuracy"] for each in found]) for views in common}


def _note(group: Sequence[Mapping[str, Any]]) -> str:
    """Return the remark on all of them, else each with the seed that it is on."""
    notes = [record.get("note", "") for record in group]
    if len(set(notes)) == 1:
        return str(notes[0])
    told = zip(group, notes, strict=True)
    return "; ".join(f"seed {record['seed']}: {note}" for record, note in told if note)


def _mean(values: Sequence[float]) -> float:
    import statistics  # what `alexnet show` does without

    return statistics.mean(values)


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def _of_speed(group: Sequence[Mapping[str, Any]], key: str) -> float:
    return _mean([float(record["speed"][key]) for record in group])


def packaged() -> list[Recorded]:
    """Return what was recorded when this version was made."""
    text = Path(__file__).with_name(PACKAGED).read_text(encoding="utf-8")
    return [Recorded(**{**r, "accuracies": tuple(r["accuracies"])}) for r in json.loads(text)]


def to_json(found: Sequence[Recorded]) -> str:
    """Write the text of ``recorded.json``: ``packaged`` gives the same again."""
    return json.dumps([asdict(each) for each in found], indent=1, ensure_ascii=False) + "\n"
