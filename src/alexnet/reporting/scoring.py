"""Models scored on what a name means, and what they said of each picture written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alexnet import evaluation
from alexnet.evaluation import Scores
from alexnet.reporting.answers import table_path, write_answers
from alexnet.run import precise_bn as precise
from alexnet.run.classifier import Classifier, refuse_strangers
from alexnet.run.device import Device
from alexnet.run.named import in_classes_of, pictures


def score(
    models: Sequence[Classifier],
    data: str | None,
    device: Device,
    *,
    views: str | None,
    top: tuple[int, ...] | None,
    batch: int,
    precise_bn: str | None,
    predictions: str | Path | None,
    root: str | Path | None,
) -> Scores:
    """Return the scores of models as one; arguments and errors are those of ``alexnet.evaluate``."""
    table = None if predictions is None else table_path(predictions)
    refuse_strangers(models)
    ks = evaluation.tops(top, len(models[0].classes))
    named = [data] if precise_bn is None else [data, precise_bn]
    meant, *seen = (in_classes_of(models[0], each) for each in pictures(models, named, root))
    new = [each.source for each in seen]
    with precise.renewed(models, *new, device=device, scored=meant.source, batch=batch):
        said = evaluation.answer_together(models, meant.source, device, views=views, batch=batch)
    found = said.score(ks)
    if table is not None:
        write_answers(said, meant, table)
    return found
