"""Everything a run needs, made from its recipe and checked against each other before it starts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.data.cache import Dataset
from alexnet.data.loader import Resident, Source
from alexnet.data.preprocess import Preprocessing
from alexnet.data.statistics import Statistics
from alexnet.evaluation import Scores
from alexnet.models import table, transfer
from alexnet.models.build import AlexNet
from alexnet.models.towers import Tower
from alexnet.recipe import Recipe
from alexnet.run import classifier
from alexnet.run.computing import Computing
from alexnet.run.device import Device, multiply
from alexnet.run.log import Console
from alexnet.run.memory import Memory
from alexnet.run.ranks import ALONE, Ranks
from alexnet.training import (
    checks,
    estimate,
    execution,
    learner,
    material,
    optim,
    ridge,
    scoring,
    sides,
    silence,
)
from alexnet.training.captured import Captured
from alexnet.training.learner import Learner
from alexnet.training.masters import Masters
from alexnet.training.material import Material
from alexnet.training.parallel import Parallel
from alexnet.training.row_update import RowUpdate
from alexnet.training.schedule import EarlyStopping, Plateau, rules

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
    rows: RowUpdate | None = None  # where large dense layers are moved row by row
    captured: Captured | None = None  # where a step is one CUDA graph
    parallel: Parallel = field(default_factory=Parallel)
    is_best: bool = field(default=False)
    between: Callable[[], None] = lambda: (
        None
    )  # called between the batches of a scoring: guard.heed

    @property
    def epochs(self) -> int:
        """Return the number of epochs, a last partial one counted as one."""
        return math.ceil(self.total / self.steps_per_epoch)

    @property
    def lengths(self) -> dict[str, int]:
        """Return what turns a duration into steps."""
        return {"steps_per_epoch": self.steps_per_epoch, "batch": self.recipe.train.batch}

    @property
    def solves(self) -> bool:
        """Say whether the head is solved at once, in place of steps."""
        return self.recipe.optim.name == ridge.NAME

    def multiply_adds(self, steps: range) -> float:
        """Return the multiply-adds of training on one picture, the mean over ``steps``."""
        network = self.model.network
        if self.solves:
            assert isinstance(self.model, AlexNet)
            width = self.model.shapes["headnorm"][0]
            return ridge.multiply_adds(len(self.train), width, network.classes)
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
        data = self.recipe.data
        return classifier.card(
            self.model.network.name,
            self.dataset.classes,
            self.preprocessing,
            self.recipe.evaluation.views,
            self.recipe.evaluation.keep,
            data.name,
            head=self.recipe.model.head,
            head_norm=self.recipe.model.head_norm,
            pool=self.recipe.model.pool,
            kernel=(self.recipe.model.kernel, len(self.train)) if self.solves else None,
            dropout=self.recipe.model.dropout,
            test=classifier.Split(data.test, data.split, data.split_seed),
            provenance=classifier.Provenance(
                self.dataset.fingerprint, data.train, self.device.precision
            ),
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

    ``folder``: the run's, whose statistics of the training split are read where it is ``resumed``:
    where it holds this run already; two towers may then go on as one process.

    Raises ``UsageError`` where the picture is too small for the network, a split is empty, two splits
    share pictures, or the memory is too small for the run, before any download where it can.
    """
    shared = checks.refuse_early(recipe, ranks, resumed=resumed)
    data = material.gather(recipe, root, console, ranks, folder if resumed else None)
    learns = learner.made(data, shared, device, root, console)
    ridge.refuse_unready(data.recipe, learns, len(data.parts["train"]))
    plan = estimate.Planned(data.recipe, learns.model, learns.first, data.parts, device, ranks)
    memory = estimate.checked(plan)
    multiply(tf32=device.tf32)  # the rows that run once, too
    with estimate.running_out_told(memory, device):
        data = learner.behind(learns, data, device, root, console)
        return _cast(data, learns, device, memory)


def _cast(data: Material, learns: Learner, device: Device, memory: Memory) -> Stage:
    """Put together what reads, what learns and what decides how, once all is known to fit."""
    recipe, model, parts = data.recipe, learns.model, data.parts
    length, total = _steps(data, learns)
    how = execution.decide(recipe, device, learns.shared, parts, learns.convolutions, model)
    masters = execution.masters(how, model)
    averaged = copy.deepcopy(model) if recipe.train.average else None
    called = learns.shared.forward(masters.working if masters else model)
    placed = {name: execution.placed(parts[name], how, device) for name in parts if name != "test"}
    plateau, stopping = rules(recipe)
    optimizer = optim.make(model, recipe.optim)
    watch = partial(silence.watched, first=learns.first, recipe=recipe, steps_per_epoch=length)
    return Stage(
        recipe=recipe,
        device=device,
        computing=how,
        dataset=data.dataset,
        train=placed["train"],
        validation=placed.get("validation"),
        test=parts["test"],
        preprocessing=data.preprocessing.on(device.torch),
        statistics=data.statistics,
        noise=_on(device, data.noise),
        class_weights=_on(device, data.class_weights),
        model=model,
        averaged=averaged,
        forward=execution.forward(called, learns.first, how.compile, recipe.train.batch),
        masters=masters,
        rows=execution.by_rows(how, model, watch),
        captured=execution.captured(how, optimizer, device, recipe.train.batch, model.network),
        optimizer=optimizer,
        plateau=plateau,
        stopping=stopping,
        steps_per_epoch=length,
        total=total,
        memory=memory,
        first=learns.first,
        parallel=learns.shared,
    )


def _on(device: Device, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.to(device.torch)


def _steps(data: Material, learns: Learner) -> tuple[int, int]:
    """Count the steps of an epoch and of the run; pictures too large at either end are refused now."""
    recipe, count = data.recipe, len(data.parts["train"])
    if recipe.optim.name == ridge.NAME:
        return 1, 1
    length = checks.steps_of_an_epoch(recipe, count, learns.whole.network)
    total = recipe.train.epochs.steps(steps_per_epoch=length, batch=recipe.train.batch)
    for step in (0, total):
        sides.at(data.preprocessing, recipe, step, total)
    return length, max(1, total)
