"""Which pictures a name means to models: ``cifar10/train[:10%]``, ``photos/cats``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alexnet.data.cache import Dataset
from alexnet.data.loader import Source, source_of
from alexnet.data.photos.listing import some
from alexnet.data.sources import Say, full_name, named_split, open_dataset, to_stderr
from alexnet.data.splits import is_whole, part_in, part_of
from alexnet.errors import DataError, UsageError
from alexnet.run.classifier import (
    Classifier,
    Split,
    cut_as,
    stored_data,
    tested_on,
)

NOTHING = "there is no data set to look at; name one, e.g. cifar10/test"


@dataclass(frozen=True)
class Named:
    """The pictures that a name means, and where they are from."""

    source: Source
    dataset: Dataset
    expression: str

    def files(self) -> list[str] | None:
        """Return the file of each picture, in the order of the source; None where they had none."""
        every = self.dataset.names(part_in(self.dataset, self.expression))
        return [every[index] for index in self.source.chosen] if every else None


def pictures(
    models: Sequence[Classifier], named: Sequence[str | None], root: str | Path | None = None
) -> list[Named]:
    """Return the pictures that each name means, stored as those that the models were trained on.

    None: what they were tested on; else see ``split_meant``. Of one part of a data set, all are read from
    the same array. Labels are into the models' classes, of which a data set may have some; this is said.
    Raises ``UsageError`` or ``UnknownName`` for what is not there, for classes that models do not know, and
    for models that do not go together, ``DataError`` as ``split_meant``.
    """
    trained_on, side, fit = stored_data(models)
    if None in named and not trained_on:
        raise UsageError(NOTHING)
    meant = [(trained_on, None) if name is None else named_split(name) for name in named]
    opened = {n: open_dataset(n, root=root, size=side, fit=fit) for n in dict(meant)}
    for name, dataset in opened.items():
        refuse_unknown_classes(models[0], dataset.classes, name)
        _tell_missing(models[0], dataset.classes, name)
    found = []
    for name, text in meant:
        dataset = opened[name]
        split = split_meant(models, name, dataset, text)
        source = source_of(dataset, split.expression, method=split.method, seed=split.seed)
        source = _in_classes_of(models[0], source, dataset.classes)
        found.append(Named(source, dataset, split.expression))
    return found


def refuse_unknown_classes(model: Classifier, classes: tuple[str, ...], whose: str) -> None:
    """Raise ``UsageError`` naming those of ``whose`` classes that a model does not know."""
    if model.classes == classes:  # another program's may have one name twice
        return
    known = {name for name, times in Counter(model.classes).items() if times == 1}
    if strange := [name for name in classes if name not in known]:
        raise UsageError(
            f"{whose} has the classes {some(strange)}, but the model from {model.origin} does not: it "
            f"knows {some(model.classes)}"
        )


def _tell_missing(model: Classifier, classes: tuple[str, ...], whose: str) -> None:
    """Say which of the classes that a model knows a data set does not have."""
    if missing := [name for name in model.classes if name not in set(classes)]:
        to_stderr(
            f"{whose} has {len(classes):,} of the {len(model.classes):,} classes that the model "
            f"knows, none of {some(missing)}"
        )


def _in_classes_of(model: Classifier, source: Source, classes: tuple[str, ...]) -> Source:
    """Return a source of ``classes`` with labels into those of a model, which knows them all."""
    if model.classes == classes:
        return source
    place = {name: number for number, name in enumerate(model.classes)}
    numbers = np.array([place[name] for name in classes], np.int64)
    return replace(source, labels=numbers[source.labels])


def split_meant(
    models: Sequence[Classifier],
    name: str,
    dataset: Dataset,
    text: str | None,
    say: Say = to_stderr,
) -> Split:
    """Return what an expression means of a data set to models; None: what they were tested on.

    Of the data set that models were trained on it is cut by the method and the seed of their own splits,
    so that what they were not trained on can be named; of any other, plainly. Where no part is named
    (empty) it is ``test``; of data without one what they were tested on, or its only part, and ``say`` is told.

    Raises ``UsageError`` where the splits of models differ, ``DataError`` for a cut of the part that
    they were trained on where its pictures are not those of then.
    """
    own = [m for m in models if _trained_on(m, name, dataset)]
    if text is None:
        split = tested_on(own)
    else:
        split = cut_as(own, text) if text else _unnamed(own, name, dataset, say)
    for model in own:
        _compare(model, name, dataset, split, say)
    return split


def _trained_on(model: Classifier, name: str, dataset: Dataset) -> bool:
    """Say whether a model was trained on a data set: by its name or, where it was moved, its contents."""
    same = dataset.fingerprint == (model.provenance.fingerprint or None)
    return same or (model.data != "" and full_name(name) == full_name(model.data))


def _unnamed(own: Sequence[Classifier], name: str, dataset: Dataset, say: Say) -> Split:
    """Return what is meant where no part of a data set is named."""
    if Split.expression in dataset.parts:
        return Split()
    if own:
        split = tested_on(own)
        say(f"{name} has no part 'test': what the model was tested on is taken, {split.expression}")
        return split
    first, *others = dataset.parts
    if others:
        return Split()  # which is refused, with the names of those that are there
    say(f"{name} has no part 'test': all of its only one is taken, {first}")
    return Split(first)


def _compare(model: Classifier, name: str, dataset: Dataset, split: Split, say: Say) -> None:
    """Refuse a cut that may hold pictures that a model was trained on; tell of other changes."""
    began, now = model.provenance.fingerprint, dataset.fingerprint
    if began in ("", now):
        return
    changed = (
        f"{name} is not what the model from {model.origin} was trained on: its fingerprint was "
        f"{began[:12]}, and is {now[:12]} now"
    )
    if not is_whole(split.expression) and part_of(split.expression) == part_of(
        model.provenance.train
    ):
        raise DataError(
            f"{changed}, so that {split.expression} may hold pictures that it was trained on; name a part "
            "that it has not seen or a folder of new pictures, or bring the data back as it was"
        )
    say(f"warning: {changed}; {split.expression} is taken as it is now")
