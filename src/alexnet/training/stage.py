"""Everything a run needs, made from its recipe and checked against each other before it starts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet import recipe as recipes
from alexnet.data.cache import Dataset
from alexnet.data.loader import Resident, Source, fold, source_of, steps_per_epoch
from alexnet.data.loader import class_weights as weights_of_classes
from alexnet.data.photos import report_text
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import open_dataset
from alexnet.data.splits import AUTO, part_of, settle
from alexnet.data.statistics import Statistics
from alexnet.errors import RecipeError, UnknownName, UsageError
from alexnet.evaluation import Scores
from alexnet.models import table, transfer
from alexnet.models.build import AlexNet, build, whiten_first
from alexnet.models.init import INITIALISATIONS
from alexnet.models.table import Network
from alexnet.models.towers import Tower
from alexnet.recipe import Recipe
from alexnet.run import classifier
from alexnet.run.computing import Computing
from alexnet.run.device import Device
from alexnet.run.log import Console
from alexnet.run.memory import Memory
from alexnet.run.ranks import ALONE, Ranks
from alexnet.training import (
    estimate,
    features,
    forward,
    measured,
    optim,
    parallel,
    scoring,
    sides,
)
from alexnet.training.masters import Masters
from alexnet.training.parallel import Parallel
from alexnet.training.schedule import EarlyStopping, Plateau, rules
from alexnet.training.transfer import network_of, rows_run_once, run_once, start_from

WHITENED = 2000  # pictures, the first of the training split, that whitening filters are made from
Saved = dict[str, Any] | None  # of a rule that watches val_loss, where the recipe has it


@dataclass
class Stage:
    """The cast of a run. Built by ``set_up``; the loop moves model, optimizer and rules."""

    recipe: Recipe
    device: Device
    computing: Computing
    dataset: Dataset
    train: Source | Resident
    validation: Source | Resident | None
    test: Source | Resident
    preprocessing: Preprocessing
    statistics: Statistics | None  # of the training split, where the recipe needs them
    noise: Tensor | None  # of the colours, (3, 3): measured.noise
    class_weights: Tensor | None  # (classes,), where rare classes weigh more in the loss
    model: AlexNet | Tower
    averaged: AlexNet | Tower | None  # the running average of the weights, where it is asked for
    forward: Callable[[Tensor], Tensor]  # the model, compiled or shared where the recipe asks
    optimizer: torch.optim.Optimizer
    plateau: Plateau | None
    stopping: EarlyStopping | None
    steps_per_epoch: int
    total: int  # optimiser steps of the whole run
    memory: Memory  # what the run needs, roughly
    first: int = 0  # the row that a step begins with: those before it ran once (features.py)
    masters: Masters | None = None  # where the forward pass runs on bf16 copies of the weights
    parallel: Parallel = field(default_factory=Parallel)
    is_best: bool = field(default=False)

    @property
    def epochs(self) -> int:
        """Return the number of epochs, a last partial one counted as one."""
        return math.ceil(self.total / self.steps_per_epoch)

    def multiply_adds(self, steps: range) -> float:
        """Return the multiply-adds of training on one picture, the mean over ``steps``."""
        network = self.model.network
        frozen = transfer.frozen_rows(network, self.recipe.model.frozen)

        def cost(side: int) -> int:
            return transfer.training_multiply_adds(table.trace(network, side), frozen, self.first)

        return sides.mean(cost, self.recipe, steps, self.total)

    @property
    def predictor(self) -> AlexNet | Tower:
        """Return the network whose weights are scored and saved for use."""
        return self.model if self.averaged is None else self.averaged

    @property
    def card(self) -> dict[str, Any]:
        """Return what a checkpoint needs so that ``load`` asks for nothing else."""
        return classifier.card(
            self.model.network.name,
            self.dataset.classes,
            self.preprocessing,
            self.recipe.evaluation.views,
            self.recipe.evaluation.keep,
            self.dataset.name,
            head=self.recipe.model.head,
            head_norm=self.recipe.model.head_norm,
        )

    def score(self, source: Source | Resident, views: str | None = None) -> Scores:
        """Score the weights that the run would predict with, in the views of its recipe or others."""
        return scoring.score(self, source, views)

    def restore_rules(self, plateau: Saved, stopping: Saved) -> None:
        """Put back what ``schedule.memory`` gave."""
        self.plateau = Plateau(**plateau) if plateau else None
        self.stopping = EarlyStopping(**stopping) if stopping else None


def set_up(
    recipe: Recipe,
    device: Device,
    root: Path | None,
    console: Console,
    ranks: Ranks = ALONE,
    *,
    folder: Path | None = None,
    resumed: bool = False,
) -> Stage:
    """Build everything for a run; nothing is written but the data set's cache.

    ``folder``: the run's, whose statistics of the training split are read where they are there.
    ``resumed``: it holds this run already; two towers may go on as one process.

    Raises ``UsageError`` where the picture is too small for the network, a split is empty, two splits
    share pictures, or the memory is too small for the run, before any download where it can.
    """
    shared = _refuse_early(recipe, _splits(recipe), ranks, resumed=resumed)
    with ranks.first_of_machine("data"):
        dataset = _open(recipe, root, console)
    recipe = _settled(recipe, dataset)
    parts = _parts(recipe, dataset)
    found = measured.statistics_of(recipe, parts["train"], folder, console)
    prepared = measured.preprocessing(recipe, parts["train"].images.shape[1], found)
    noise = measured.noise(recipe.augment, prepared, found)
    weighs = recipe.train.balance == "loss"
    weights = weights_of_classes(parts["train"].targets, len(dataset.classes)) if weighs else None
    whole = _model(recipe, len(dataset.classes), parts["train"], prepared)
    start_from(whole, recipe.model, root, console)
    shared = shared.of_classes(len(dataset.classes))
    model = shared.model(whole).to(device.torch)
    convolutions = forward.convolutions(recipe, device, model)
    first = rows_run_once(recipe, whole)
    memory = estimate.checked(recipe, model, first, parts, device, ranks)
    if first:
        plan = features.Plan(whole, first, prepared, device)
        parts = run_once(plan, recipe, dataset, parts, root, console, noise)
    length = _length(recipe, len(parts["train"]), whole.network)
    total = recipe.train.epochs.steps(steps_per_epoch=length, batch=recipe.train.batch)
    sides.at(prepared, recipe, total, total)  # the largest pictures: refused now, not at that step
    plateau, stopping = rules(recipe)
    how = forward.decide(recipe, device, shared, parts, convolutions)
    masters = forward.masters(how, model)
    return Stage(
        recipe=recipe,
        device=device,
        computing=how,
        dataset=dataset,
        train=forward.placed(parts["train"], how, device),
        validation=forward.placed(parts["validation"], how, device)
        if "validation" in parts
        else None,
        test=parts["test"],
        preprocessing=prepared.on(device.torch),
        statistics=found,
        noise=None if noise is None else noise.to(device.torch),
        class_weights=None if weights is None else weights.to(device.torch),
        model=model,
        averaged=copy.deepcopy(model) if recipe.train.average else None,
        forward=forward.forward(
            shared.forward(masters.working if masters else model), first, how.compile
        ),
        masters=masters,
        optimizer=optim.make(model, recipe.optim),
        plateau=plateau,
        stopping=stopping,
        steps_per_epoch=length,
        total=max(1, total),
        memory=memory,
        first=first,
        parallel=shared,
    )


def _parts(recipe: Recipe, dataset: Dataset) -> dict[str, Source]:
    """Return the pictures of each split that the recipe names; none is trained on and scored."""
    data, splits = recipe.data, _splits(recipe)
    how: dict[str, Any] = {"method": data.split, "seed": data.split_seed}
    parts = {name: source_of(dataset, text, **how) for name, text in splits.items() if text}
    _refuse_overlap(parts, splits)
    return parts


def _length(recipe: Recipe, count: int, network: Network) -> int:
    """Count the steps of an epoch; refuse an epoch, or a batch in it, that cannot be trained on."""
    batch, drop_last = recipe.train.batch, recipe.train.drop_last
    length = steps_per_epoch(count, batch, drop_last=drop_last)
    if not length:
        raise RecipeError(
            f"train.batch = {batch} is more than the {count} training pictures, and "
            "train.drop_last leaves out the partial batch; lower train.batch"
        )
    alone = batch == 1 or (count % batch == 1 and not drop_last)
    if alone and network.norms_vectors:
        raise RecipeError(
            f"train.batch = {batch} leaves a batch of one of {count} training pictures, which has no "
            f"variance for the batch norm behind {network.name}'s dense layers; set "
            "train.drop_last=true or another train.batch"
        )
    return length


def _splits(recipe: Recipe) -> dict[str, str]:
    data = recipe.data
    return {"train": data.train, "validation": data.validation, "test": data.test}


def _open(recipe: Recipe, root: Path | None, console: Console) -> Dataset:
    """Open the data set and, of photographs, say what was found in them."""
    data = recipe.data
    found = open_dataset(
        data.name, root=root, size=data.size, fit=data.fit, say=console.say, quiet=console.quiet
    )
    if report := found.report():
        console.say(report_text.render(report))
    return found


def _settled(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Put splits in the place of ``auto``; what has to be cut is cut class by class."""
    asked = _splits(recipe)
    if AUTO not in asked.values():
        return recipe
    found = settle(asked, dataset.parts)
    changes: dict[str, Any] = {f"data.{role}": text for role, text in found.items()}
    if asked["train"] == AUTO and "[" in found["train"]:
        changes["data.split"] = "stratified"
    return recipes.override(recipe, changes)


def _refuse_early(
    recipe: Recipe, splits: dict[str, str], ranks: Ranks, *, resumed: bool
) -> Parallel:
    """Find what cannot be meant before a data set is fetched for it; return who does what."""
    network = network_of(recipe.model, None)
    sides.refuse_unfit(recipe, network)
    transfer.frozen_rows(network, recipe.model.frozen)
    if network.init not in INITIALISATIONS:
        raise UnknownName("initialisation", network.init, INITIALISATIONS)
    for expression in filter(None, splits.values()):
        part_of(expression)
    shared = parallel.of(recipe, ranks, network, resumed=resumed)
    if shared.two_towers and recipe.model.frozen:
        raise RecipeError(
            "model.frozen needs the whole network in each process, and train.parallel = 'towers' "
            "halves it; set train.parallel = 'data'"
        )
    return shared


def _refuse_overlap(parts: dict[str, Source], splits: dict[str, str]) -> None:
    """A picture that is trained on must not be scored: the figure would be worth nothing."""
    for name in ("validation", "test"):
        if name in parts and parts[name].images is parts["train"].images:
            shared = np.intersect1d(parts["train"].chosen, parts[name].chosen)
            if len(shared):
                raise UsageError(
                    f"data.train = {splits['train']!r} and data.{name} = {splits[name]!r} share "
                    f"{len(shared)} pictures; choose splits that do not overlap"
                )


def _model(recipe: Recipe, classes: int, train: Source, prepared: Preprocessing) -> AlexNet:
    network = network_of(recipe.model, classes)
    model = build(network, recipe.input.size, seed=fold(recipe.train.seed, "init"))
    if network.whitens:
        first = train.read(np.arange(min(len(train), WHITENED)), torch.device("cpu"))
        whiten_first(model, prepared(first.pictures))
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]
