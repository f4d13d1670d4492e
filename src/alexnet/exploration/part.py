"""Which pictures are looked at: part of a data set, opened as a model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alexnet.data.loader import Source, source_of
from alexnet.data.sources import named_split, open_dataset
from alexnet.data.splits import part_in
from alexnet.errors import UsageError
from alexnet.run.classifier import Classifier
from alexnet.run.named import NOTHING, split_meant


@dataclass(frozen=True)
class Part:
    """Part of a data set: its name, e.g. ``cifar10/test``, its pictures, its class names.

    ``files`` names the file of each picture of the part's array; None where they had none.
    """

    name: str
    source: Source
    classes: tuple[str, ...]
    files: tuple[str, ...] | None = None


def open_part(
    data: str | None, model: Classifier | None, data_root: str | Path | None = None
) -> Part:
    """Open what ``data`` names (``named.split_meant``); None: what the model was tested on when it was trained.

    Pictures are stored as the model takes them, or in their own size for fresh weights and without a
    model. Raises ``UsageError`` where there is nothing to open, ``UnknownName`` for what is not there,
    ``DataError`` for a part that may hold other pictures than when the model was trained.
    """
    models = [] if model is None else [model]
    trained_on = model.data if model is not None else ""
    if not (data or trained_on):
        raise UsageError(NOTHING)
    name, text = named_split(data) if data else (trained_on, None)
    how = model.preprocessing if model is not None and model.trained else None
    side, fit = (how.picture_size, how.square_fit) if how else (None, "crop")
    dataset = open_dataset(name, root=data_root, size=side, fit=fit)
    split = split_meant(models, name, dataset, text)
    source = source_of(dataset, split.expression, method=split.method, seed=split.seed)
    files = dataset.names(part_in(dataset, split.expression))
    return Part(f"{name}/{split.expression}", source, dataset.classes, files)
