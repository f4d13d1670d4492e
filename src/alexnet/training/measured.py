"""Statistics of a run's training split: measured once, kept in its folder, read at a resume.

::

    RUN/statistics.safetensors   mean picture, mean and covariance of the colours; sha256 of them
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from alexnet.data import colour
from alexnet.data.loader import Source
from alexnet.data.preprocess import Preprocessing
from alexnet.data.statistics import Statistics, measure
from alexnet.errors import CheckpointError
from alexnet.recipe import Augment, Recipe
from alexnet.run import log
from alexnet.run.files import write_bytes
from alexnet.run.log import Console

STATISTICS = log.STATISTICS
_NAMES = ("count", "mean_picture", "mean", "covariance")


def statistics_of(
    recipe: Recipe, train: Source, folder: Path | None, console: Console
) -> Statistics | None:
    """Return what the recipe needs to know of its training split, None where it needs nothing.

    What ``folder`` holds is read. Raises ``CheckpointError`` where that is damaged.
    """
    if isinstance(recipe.input.mean, tuple) and not recipe.augment.colour:
        return None
    if folder is not None and (folder / STATISTICS).is_file():
        return read(folder / STATISTICS)
    console.say(f"measuring mean and colours of {len(train):,} training pictures")
    return measure(train.images, train.chosen)


def keep(folder: Path, found: Statistics) -> None:
    """Write statistics into a run's folder, in one step."""
    arrays = {name: np.asarray(getattr(found, name)) for name in _NAMES}
    write_bytes(folder / STATISTICS, save(arrays, metadata={"sha256": _digest(arrays)}))


def read(path: Path) -> Statistics:
    """Read what ``keep`` wrote. Raises ``CheckpointError`` where a bit of it has changed."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in _NAMES}
            recorded = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(_damaged(path, str(error))) from None
    if _digest(arrays) != recorded:
        raise CheckpointError(_damaged(path, "its sha256 is not the one recorded"))
    return Statistics(**{**arrays, "count": int(arrays["count"])})


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} is damaged: {what}. Remove it and resume: it is measured again, to the same bits"
    )


def _digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name in _NAMES:
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def preprocessing(recipe: Recipe, picture_size: int, found: Statistics | None) -> Preprocessing:
    """Turn a recipe's ``[input]`` and ``data.fit`` into the object that travels with the weights."""
    plan = recipe.input
    mean, picture = plan.mean, None
    if isinstance(mean, str):
        assert found is not None
        unit = 255.0 if plan.scale == "0..1" else 1.0
        red, green, blue = (float(level) / unit for level in found.mean)
        mean, picture = (
            ((red, green, blue), None)
            if mean == "channel"
            else ((0.0, 0.0, 0.0), torch.from_numpy(found.mean_picture))
        )
    how = (plan.size, plan.scale, mean, plan.std, plan.fit, picture, plan.resize)
    return Preprocessing(picture_size, *how, square_fit=recipe.data.fit)


def noise(plan: Augment, prepared: Preprocessing, found: Statistics | None) -> Tensor | None:
    """Return the colour noise of ``augment.colour`` in the network's units: float32 ``(3, 3)``."""
    if not plan.colour:
        return None
    assert found is not None
    levels = colour.noise_of(*found.principal(), plan.colour, plan.colour_reading)
    units = levels / prepared.levels / np.array(prepared.std)[:, None]
    return torch.from_numpy(units.astype(np.float32))
