"""Which pictures a name means, to models or by itself: ``cifar10/train[:10%]``, ``photos/cats``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    """The pictures that a name means: ``name`` is theirs in full, e.g. ``cifar10/test``.

    Labels are into ``classes``. ``names``: gives the file of each picture of the part's whole array.
    """

    name: str
    source: Source
    classes: tuple[str, ...]
    names: Callable[[], Sequence[str] | None] = lambda: None

    def files(self) -> tuple[str, ...] | None:
        """Return the file of each picture, in the order of the source; None where they had none."""
        every = self.names()
        return tuple(every[index] for index in self.source.chosen) if every else None


def selected(dataset: Dataset, split: Split, name: str) -> Named:
    """Return the pictures that a split selects of a data set, which is called ``name``. Raises as ``select``."""
    source = source_of(dataset, split.expression, method=split.method, seed=split.seed)
    names = partial(dataset.names, part_in(dataset, split.expression))
    return Named(f"{name}/{split.expression}", source, dataset.classes, names)


def pictures(
    models: Sequence[Classifier], named: Sequence[str | None], root: str | Path | None = None
) -> list[Named]:
    """Return the pictures that each name means, with the classes of its data set.

    None: what the models were tested on; else see ``split_meant``. They are stored as those that the models
    were trained on, in their own size for fresh weights and without models. Of one part of a data set, all are
    read from the same array. Raises ``UsageError`` or ``UnknownName`` for what is not there, and for models
    that do not go together, ``DataError`` as ``split_meant``.
    """
    trained_on, side, fit = stored_data(models)
    if None in named and not trained_on:
        raise UsageError(NOTHING)
    meant = [(trained_on, None) if name is None else named_split(name) for name in named]
    opened = {n: open_dataset(n, root=root, size=side, fit=fit) for n in dict(meant)}
    return [
        selected(opened[name], split_meant(models, name, opened[name], text), name)
        for name, text in meant
    ]


def in_classes_of(model: Classifier, found: Named) -> Named:
    """Return pictures with labels into a model's classes, of which they may have some; this is said.

    Raises ``UsageError`` for classes that the model does not know.
    """
    if model.classes == found.classes:  # another program's may have one name twice
        return found
    refuse_unknown_classes(model, found.classes, found.name)
    _tell_missing(model, found.classes, found.name)
    place = {name: number for number, name in enumerate(model.classes)}
    numbers = np.array([place[name] for name in found.classes], np.int64)
    source = replace(found.source, labels=numbers[found.source.labels])
    return replace(found, source=source, classes=model.classes)


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
