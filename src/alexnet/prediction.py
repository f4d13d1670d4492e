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

from alexnet.data.pictures import fit_square, read_picture
from alexnet.errors import BadPicture, UsageError
from alexnet.run.classifier import Classifier, probabilities
from alexnet.run.device import Device


@dataclass(frozen=True)
class Ranked:
    """One class and its probability (0..1)."""

    label: str
    probability: float


def predict(
    model: Classifier,
    picture: str | os.PathLike[str] | bytes | NDArray[Any],
    *,
    top: int = 5,
    views: str | None = None,
    device: Device | None = None,
) -> list[Ranked]:
    """Return the ``top`` most probable classes of one picture, most probable first.

    ``views``: ``centre`` or ``flip``; None: as the model was scored. ``picture``: a path, the bytes of a file, or a uint8 array (``data.pictures.read_picture``).
    Raises ``BadPicture`` for one that cannot be read, ``UsageError`` for ``top`` below 1.
    """
    if top < 1:
        raise UsageError(f"top must be at least 1, got {top}")
    square = fit_square(read_picture(picture), model.preprocessing.picture_size)
    device = device or Device(torch.device("cpu"), "float32")
    x = model.preprocessing(torch.from_numpy(np.ascontiguousarray(square))[None].to(device.torch))
    p = probabilities(model.module.to(device.torch), x, device, views=views or model.views)[0].cpu()
    return rank(p, model.classes, top=top)


def predict_each(
    model: Classifier, pictures: Sequence[str], *, top: int = 5, views: str | None = None
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
