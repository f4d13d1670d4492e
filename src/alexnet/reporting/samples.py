"""Some pictures of a data set, by chance or by number, with what they are and what a model says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.loader import Source
from alexnet.data.photos.folders import is_place
from alexnet.data.sources import DATASETS, named_split
from alexnet.errors import UnknownName, UsageError
from alexnet.evaluation import predictions
from alexnet.prediction import Ranked, rank
from alexnet.reporting.pictures import plot_prediction, plot_samples
from alexnet.reporting.style import INK, RIGHT, WRONG
from alexnet.reporting.text import in_brackets
from alexnet.run.checkpoint import is_model
from alexnet.run.classifier import Classifier
from alexnet.run.computing import lent
from alexnet.run.device import Device
from alexnet.run.named import Named, refuse_unknown_classes


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture: uint8 ``(H, W, 3)``, its number within the part of its data set, its class.

    ``data`` names the split, e.g. ``cifar10/test``. ``ranked``: what a model says, most probable first;
    empty without a model. ``file``: what the picture came from; None where it had no name.
    """

    picture: NDArray[np.uint8]
    data: str
    index: int
    label: int
    actual: str
    ranked: tuple[Ranked, ...]
    file: str | None = None

    @property
    def right(self) -> bool | None:
        """Say whether the model named the class; None without a model."""
        return self.ranked[0].label == self.actual if self.ranked else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the picture's shape and type in place of its pixels."""
        return {
            "data": self.data,
            "index": self.index,
            "file": self.file,
            "shape": list(self.picture.shape),
            "dtype": str(self.picture.dtype),
            "label": self.label,
            "actual": self.actual,
            "ranked": [{"label": r.label, "probability": r.probability} for r in self.ranked],
        }


def split_names(what: str, part: str | None) -> tuple[str | None, str | None]:
    """Tell a model and a data set's part apart: ``cifar10/train`` alone is no model.

    Raises ``UnknownName`` for what looks like a part, or a folder, and is neither.
    """
    if part is not None:
        return what, part
    name, _ = named_split(what)
    if name in DATASETS or (is_place(Path(name)) and not is_model(Path(name))):
        return None, what
    if "/" in what and not Path(what).exists():
        raise UnknownName("model's folder or part of a data set", what, DATASETS)
    return what, part


def pick(part: Named, count: int, seed: int | None, first: int | None = None) -> Named:
    """Return ``count`` pictures of a split: drawn by ``seed``, or those from number ``first`` on.

    Without a seed the clock is taken. Raises ``UsageError`` for numbers that the split does not have.
    """
    whole = part.source
    if not 1 <= count <= len(whole):
        raise UsageError(f"{count} of {len(whole):,} pictures; choose 1 to {len(whole)}")
    if first is None:
        chance = np.random.Generator(np.random.PCG64(time_ns() if seed is None else seed))
        places = chance.permutation(len(whole))[:count]
    elif 0 <= first <= len(whole) - count:
        places = np.arange(first, first + count)
    else:
        raise UsageError(
            f"picture {first}{f' to {first + count - 1}' if count > 1 else ''} of "
            f"{len(whole):,}; they are numbered from 0 to {len(whole) - 1}"
        )
    return replace(part, source=Source(whole.images, whole.labels, whole.chosen[places]))


def samples(part: Named, model: Classifier | None, device: Device) -> list[Sample]:
    """Look at every picture of a part, in its order; a model ranks the classes of each.

    Fresh weights know their classes by number only, and take the names. Raises ``UsageError`` for
    classes that the model does not know.
    """
    source, classes = part.source, part.classes
    files = part.files() or [None] * len(source)
    batch = source.read(np.arange(len(source)), torch.device("cpu"))
    said = [()] * len(source) if model is None else _said(model, part, device)
    rows = zip(batch.pictures.numpy(), batch.indices.tolist(), batch.labels.tolist(), strict=True)
    return [
        Sample(p, part.name, i, label, classes[label], tuple(r), file)
        for (p, i, label), r, file in zip(rows, said, files, strict=True)
    ]


def _said(model: Classifier, part: Named, device: Device) -> Sequence[Sequence[Ranked]]:
    numbered = model.classes == tuple(f"class {n}" for n in range(len(model.classes)))
    if (numbered or not model.trained) and len(model.classes) == len(part.classes):
        model = replace(model, classes=part.classes)
    refuse_unknown_classes(model, part.classes, part.name)
    how: dict[str, Any] = {"views": model.views, "batch": 100}
    with lent(model.module, device):
        found = predictions(model.module, part.source, model.preprocessing, device, **how)
        return [rank(p, model.classes, top=5) for probabilities, _ in found for p in probabilities]


def text(found: Sequence[Sample], *, values: bool = False) -> str:
    """Say of each picture what it is and, with a model, what it was taken for.

    ``values``: also print the pixels, corners only where they are many.
    """
    blocks = ["\n".join(_lines(sample, values)) for sample in found]
    if len(found) == 1:
        return blocks[0]
    head = (
        f"{len(found)} pictures, {found[0].picture.dtype} {(len(found), *found[0].picture.shape)}"
    )
    known = [sample.right for sample in found if sample.right is not None]
    if known:
        head += f"; {sum(known)} of {len(known)} named right"
    return "\n\n".join([head, *blocks])


def _lines(sample: Sample, values: bool) -> list[str]:
    height, width, channels = sample.picture.shape
    lines = [
        f"picture {sample.index}{in_brackets(sample.file)} of {sample.data}: {height} x {width} x {channels}, "
        f"{sample.picture.dtype}, label {sample.label}"
    ]
    if values:
        lines.append(np.array2string(sample.picture, threshold=100))
    if not sample.ranked:
        return [*lines, f"The picture is {sample.actual}"]
    best = sample.ranked[0]
    lines.append(f"My prediction is {best.label} ({best.probability:.1%})")
    return [*lines, f"Actual image is {sample.actual}"]


def draw(found: Sequence[Sample], path: Path) -> Path:
    """Draw the pictures in their own colours: one with its ranking, several as a grid."""
    if len(found) == 1 and found[0].ranked:
        return draw_ranking(found[0], path, title=found[0].data)
    return draw_grid(found, path, title=found[0].data)


def draw_ranking(sample: Sample, path: Path, *, title: str = "") -> Path:
    """Draw a picture beside the classes that a model takes it for."""
    ranked = [(r.label, r.probability) for r in sample.ranked]
    return plot_prediction(sample.picture, ranked, path, actual=sample.actual, title=title)


def draw_grid(found: Sequence[Sample], path: Path, *, title: str) -> Path:
    """Draw pictures under their classes; where a model is wrong, under what it says and what they are."""
    paint = {None: INK, True: RIGHT, False: WRONG}
    return plot_samples(
        np.stack([sample.picture for sample in found]),
        [_title(sample) for sample in found],
        path,
        colours=[paint[sample.right] for sample in found],
        title=title,
    )


def _title(sample: Sample) -> str:
    if sample.right is False:
        return f"{sample.ranked[0].label}\nis {sample.actual}"
    return sample.actual
