"""The network of a run: built, filled with weights, frozen, divided among the processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from alexnet.data.loader import Source
from alexnet.data.order import fold
from alexnet.data.preprocess import Preprocessing
from alexnet.models.build import AlexNet, build, whiten_first
from alexnet.models.towers import Tower
from alexnet.recipe import Recipe
from alexnet.run.device import Device
from alexnet.run.log import Console
from alexnet.training import execution, features
from alexnet.training.material import Material
from alexnet.training.parallel import Parallel
from alexnet.training.transfer import network_of, rows_run_once, run_once, start_from

WHITENED = 2000  # pictures, the first of the training split, that whitening filters are made from


@dataclass(frozen=True)
class Learner:
    """What learns: the ``whole`` network, this process's part of it, ``model``, and who does what."""

    whole: AlexNet
    model: AlexNet | Tower  # on the device
    shared: Parallel
    first: int  # the row that a step begins with: those before it run once (features.py)
    convolutions: str  # how they are computed


def made(
    data: Material, shared: Parallel, device: Device, root: Path | None, console: Console
) -> Learner:
    """Build the network that a recipe describes and fill and freeze what it says.

    Raises as ``transfer.start_from`` does.
    """
    recipe = data.recipe
    whole = _built(recipe, data.classes, data.parts["train"], data.preprocessing)
    start_from(whole, recipe.model, root, console)
    shared = shared.of_classes(data.classes)
    model = shared.model(whole).to(device.torch)
    convolutions = execution.convolutions(recipe, device, model)
    return Learner(whole, model, shared, rows_run_once(recipe, whole), convolutions)


def behind(
    learner: Learner, data: Material, device: Device, root: Path | None, console: Console
) -> Material:
    """Return what the step reads: pictures, or the features that leave the rows that run once."""
    if not learner.first:
        return data
    plan = features.Plan(learner.whole, learner.first, data.preprocessing, device)
    found = run_once(plan, data.recipe, data.dataset, data.parts, root, console, data.noise)
    return replace(data, parts=found)


def _built(recipe: Recipe, classes: int, train: Source, prepared: Preprocessing) -> AlexNet:
    network = network_of(recipe.model, classes, len(train))
    model = build(network, recipe.input.size, seed=fold(recipe.train.seed, "init"))
    if network.whitens:
        first = train.read(np.arange(min(len(train), WHITENED)), torch.device("cpu"))
        whiten_first(model, prepared(first.pictures))
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]
