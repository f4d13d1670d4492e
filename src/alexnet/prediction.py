"""A picture in, ranked class names out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.pictures import read_square
from alexnet.errors import BadPicture, UsageError
from alexnet.run.classifier import Classifier, refuse_strangers
from alexnet.run.device import Device
from alexnet.run.views import log_probabilities


@dataclass(frozen=True)
class Ranked:
    """One class and its probability (0..1)."""

    label: str
    probability: float


def predict(
    model: Classifier | Sequence[Classifier],
    picture: str | os.PathLike[str] | bytes | NDArray[Any],
    *,
    top: int = 5,
    views: str | None = None,
    device: Device | None = None,
) -> list[Ranked]:
    """Return the ``top`` most probable classes of one picture, most probable first.

    ``model``: one, or several whose probabilities are averaged. ``picture``: a path, the bytes of a
    file, or a uint8 array (``data.pictures.read_picture``). ``views``: ``run.views``; None: as each
    model was scored. Raises ``BadPicture`` for a picture that cannot be read, ``UsageError`` for
    ``top`` below 1 or models of different classes.
    """
    models = [model] if isinstance(model, Classifier) else list(model)
    refuse_strangers(models)
    if top < 1:
        raise UsageError(f"top must be at least 1, got {top}")
    device = device or Device(torch.device("cpu"), "float32")
    found = [_probabilities(each, picture, views, device) for each in models]
    return rank(torch.stack(found).mean(0), models[0].classes, top=top)


def _probabilities(
    model: Classifier,
    picture: str | os.PathLike[str] | bytes | NDArray[Any],
    views: str | None,
    device: Device,
) -> Tensor:
    """Return the probabilities ``(classes,)`` of one picture on the CPU."""
    how = model.preprocessing
    square = read_square(picture, how.picture_size, how.square_fit)
    stored = torch.from_numpy(np.ascontiguousarray(square))[None].to(device.torch)
    module, seen = model.module.to(device.torch), views or model.views
    return log_probabilities(module, stored, how, device, views=seen)[0].exp().cpu()


def predict_each(
    model: Classifier | Sequence[Classifier],
    pictures: Sequence[str],
    *,
    top: int = 5,
    views: str | None = None,
) -> tuple[dict[str, list[Ranked]], list[BadPicture]]:
    """Predict several picture files; one that cannot be read does not keep the others waiting.

    Returns the rankings by name, and the errors of the pictures that could not be read.
    """
    found: dict[str, list[Ranked]] = {}
    faults: list[BadPicture] = []
    for name in pictures:
        try:
            found[name] = predict(model, name, top=top, views=views)
        except BadPicture as error:
            faults.append(error)
    return found, faults


def rank(p: Tensor, classes: tuple[str, ...], *, top: int) -> list[Ranked]:
    """Name the ``top`` largest of probabilities ``(classes,)``, most probable first."""
    best = p.topk(min(top, len(classes)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Ranked(classes[i], share) for i, share in pairs]
