"""Which pictures a name means to models: ``cifar10/train[:10%]``, ``photos/cats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.data.cache import Dataset
from alexnet.data.loader import Source, source_of
from alexnet.data.sources import named_split, open_dataset
from alexnet.data.splits import part_in
from alexnet.errors import UsageError
from alexnet.run.classifier import Classifier, Split, refuse_other_classes, stored_data, tested_on

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

    None: what they were tested on. Of one part of a data set, all are read from the same array. Raises
    ``UsageError`` or ``UnknownName`` for what is not there, for other classes, and for models that do not
    go together.
    """
    trained_on, side, fit = stored_data(models)
    if None in named and not trained_on:
        raise UsageError(NOTHING)
    meant = [(trained_on, "") if name is None else named_split(name) for name in named]
    opened = {n: open_dataset(n, root=root, size=side, fit=fit) for n in dict(meant)}
    for name, dataset in opened.items():
        refuse_other_classes(models, dataset.classes, name)
    found = []
    for name, text in meant:
        split = Split(text) if text else tested_on(models)
        dataset, expression = opened[name], split.expression
        source = source_of(dataset, expression, method=split.method, seed=split.seed)
        found.append(Named(source, dataset, expression))
    return found
