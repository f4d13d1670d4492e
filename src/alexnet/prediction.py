"""Pictures in, ranked class names out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet import limits
from alexnet.data.photos.folders import pictures_below
from alexnet.data.pictures import Given, read_square
from alexnet.errors import BadPicture, UsageError
from alexnet.run.classifier import Classifier, refuse_strangers
from alexnet.run.computing import lent
from alexnet.run.device import Device
from alexnet.run.views import log_probabilities

BATCH = 32  # pictures that are read, and then answered to, at a time
Squares = list[NDArray[np.uint8]]  # one picture as each model wants it stored


@dataclass(frozen=True)
class Ranked:
    """One class and its probability (0..1)."""

    label: str
    probability: float


def predict(
    model: Classifier | Sequence[Classifier],
    picture: Given,
    *,
    top: int = 5,
    views: str | None = None,
    device: Device | None = None,
) -> list[Ranked]:
    """Return the ``top`` most probable classes of one picture, most probable first.

    ``model``: one, or several whose probabilities are averaged. ``picture``: a path, the bytes of a
    file, a picture of Pillow's or a uint8 array (``data.pictures.read_picture``). ``views``: ``run.views``; None:
    as each model was scored. ``device``: None: a CPU, in float32. Raises ``BadPicture`` for a picture that cannot
    be read, ``UsageError`` for ``top`` below 1 or models of different classes.
    """
    (found,) = predict_each(model, [picture], top=top, views=views, device=device)
    if isinstance(found, BadPicture):
        raise found
    return found


def predict_each(
    model: Classifier | Sequence[Classifier],
    pictures: Sequence[Given],
    *,
    top: int = 5,
    views: str | None = None,
    device: Device | None = None,
) -> Iterator[list[Ranked] | BadPicture]:
    """Yield ``predict`` of several pictures in their order, some at a time, as they are answered.

    One that cannot be read gives its error, and keeps no other waiting. Otherwise raises as ``predict``.
    """
    models, starts = _checked(model, top), range(0, len(pictures), BATCH)
    device = device or Device(torch.device("cpu"), "float32")
    with ExitStack() as held:
        for each in models:
            held.enter_context(lent(each.module, device))
        pool = held.enter_context(
            ThreadPoolExecutor(limits.cores())
        )  # Pillow decodes beside others
        for some in (pictures[at : at + BATCH] for at in starts):
            read = list(pool.map(lambda picture: _squares_or_fault(models, picture), some))
            whole = [squares for squares in read if not isinstance(squares, BadPicture)]
            said = iter(_probabilities(models, whole, views, device) if whole else ())
            for of in read:
                if isinstance(of, BadPicture):
                    yield of
                else:
                    yield rank(next(said), models[0].classes, top=top)


def find_pictures(names: Sequence[str]) -> list[str]:
    """Return picture files: those named and, of a folder, all that may be pictures in it and below it.

    Hidden ones are left out, and none comes twice. Raises ``UsageError`` for a folder without any, ``DataError`` for one that cannot
    be read.
    """
    found: list[str] = []
    for name in names:
        place = Path(name).expanduser()
        found += pictures_below(place) if place.is_dir() else [name]
    return list(dict.fromkeys(found))


def _checked(model: Classifier | Sequence[Classifier], top: int) -> list[Classifier]:
    models = [model] if isinstance(model, Classifier) else list(model)
    refuse_strangers(models)
    if top < 1:
        raise UsageError(f"top must be at least 1, got {top}")
    return models


def _squares_or_fault(models: Sequence[Classifier], picture: Given) -> Squares | BadPicture:
    try:
        return _squares(models, picture)
    except BadPicture as error:
        return error


def _squares(models: Sequence[Classifier], picture: Given) -> Squares:
    how = [model.preprocessing for model in models]
    return [read_square(picture, each.picture_size, each.square_fit) for each in how]


def _probabilities(
    models: Sequence[Classifier],
    pictures: Sequence[Squares],
    views: str | None,
    device: Device,
) -> Tensor:
    """Return the mean probabilities ``(N, classes)`` of N pictures on the CPU."""
    found = []
    for model, squares in zip(models, zip(*pictures, strict=True), strict=True):
        stored = torch.from_numpy(np.stack(squares)).to(device.torch)
        how, seen = model.preprocessing, views or model.views
        logs = log_probabilities(model.module, stored, how, device, views=seen)
        found.append(logs.exp().cpu())
    return torch.stack(found).mean(0)


def rank(p: Tensor, classes: tuple[str, ...], *, top: int) -> list[Ranked]:
    """Name the ``top`` largest of probabilities ``(classes,)``, most probable first."""
    best = p.topk(min(top, len(classes)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Ranked(classes[i], share) for i, share in pairs]
