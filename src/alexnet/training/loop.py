"""``fit``: a run from its recipe to its recorded result.

Whatever is random is a function of (seed, epoch, step). A run that was killed at any step and is
resumed therefore ends with the same bits, on the same device with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.data.ahead import Ahead
from alexnet.data.augment import in_turn
from alexnet.data.loader import Batch, beside, generator, read_portion, training_batches
from alexnet.data.order import fold
from alexnet.evaluation import Scores
from alexnet.models.build import begin_step
from alexnet.recipe import Recipe
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.run.ranks import ALONE, Ranks
from alexnet.training import (
    augmentation,
    estimate,
    features,
    groups,
    guard,
    lines,
    mixing,
    occasions,
    optim,
    record,
    rehearsal,
    ridge,
    schedule,
    sides,
)
from alexnet.training import step as steps
from alexnet.training.losses import Losses, Taken
from alexnet.training.saving import Progress, restore, save
from alexnet.training.stage import Stage, set_up


def fit(
    recipe: Recipe,
    folder: Path,
    *,
    device: Device,
    root: Path | None = None,
    console: log.Console | None = None,
    command: str = "",
    ranks: Ranks = ALONE,
) -> record.Result:
    """Train ``recipe`` in ``folder`` and return what it reached; a folder with this run is resumed.

    ``ranks``: the processes that share the run, each of which calls ``fit``; rank 0 alone writes and
    speaks. Raises ``UsageError`` before anything is written where recipe, data and network do not agree;
    ``TrainingError`` (``NotFinite``, ``Interrupted``, memory that runs out) or ``CheckpointError`` while
    training, with everything up to the last checkpoint saved.
    """
    console = console if console and ranks.main else log.Console(quiet=not ranks.main)
    resumed = record.is_begun(folder)
    estimate.forget_peak(device)
    stage = set_up(recipe, device, root, console, ranks, folder=folder, resumed=resumed)
    alone = guard.owned(folder) if ranks.main else nullcontext()
    told = estimate.running_out_told(stage.memory, device)
    with alone, guard.signals(console) as asked, told:
        with ranks.behind_main():  # photographs on both sides of the cut are looked for
            if ranks.main:
                record.open_folder(folder, stage, command, console)
        progress = restore(stage, folder, console)
        if ranks.main:
            record.note_machine(folder, stage, progress, console)
        rate_before = device.matrix_rate()
        timed = 0.0 if stage.solves else rehearse(stage, progress.step)
        console.say(lines.beforehand(stage, progress, timed))
        if (
            ranks.world == 1 and not stage.solves
        ):  # several would not hear it between the same batches
            stage.between = guard.heed(asked)
        try:
            _train(stage, progress, folder, console, asked)
            how: dict[str, Any] = {"progress": progress, "rate_before": rate_before}
            result = record.finish(stage, folder, console, **how)
        except guard.Heard:
            if occasions.unscored(stage, progress):
                save(stage, progress, folder)
            raise guard.interrupted(asked[0], folder, progress.step) from None
        if asked:
            raise guard.too_late(asked[0], folder)
        return result


def _train(
    stage: Stage, progress: Progress, folder: Path, console: log.Console, asked: list[int]
) -> None:
    """Train to the end of the run, epoch by epoch; one that was left unscored is scored first."""
    while occasions.unscored(stage, progress) or not occasions.over(stage, progress):
        found: dict[str, float] = {}
        if stage.solves:
            found = ridge.learn(stage, progress, folder, console)
        elif not occasions.unscored(stage, progress):
            _train_epoch(stage, progress, folder, console, asked)
        _close_epoch(stage, progress, folder, console, found)
        due = occasions.due(stage, progress, stage.recipe.checkpoint.every)
        stop = stage.parallel.ranks.asked(asked)
        if stop or due or stage.is_best or occasions.over(stage, progress):
            save(stage, progress, folder)
        if stop and not occasions.over(stage, progress):
            raise guard.interrupted(stop[0], folder, progress.step)


def _train_epoch(
    stage: Stage, progress: Progress, folder: Path, console: log.Console, asked: list[int]
) -> None:
    """Train to the end of the epoch that ``progress`` is in, from wherever in it that is."""
    epoch, first = divmod(progress.step, stage.steps_per_epoch)
    begun, clock = progress.seconds, log.Clock(progress.seconds)
    title, waited = f"epoch {epoch + 1}/{stage.epochs}", progress.waited
    bars, losses = (
        console.bar(title, stage.steps_per_epoch, first),
        Losses(stage.parallel, stage.device),
    )
    with Ahead(_batches(stage, epoch, first)) as ahead, bars as bar, clock.running():
        for done, batch in enumerate(ahead, start=1):
            loss, right = train_step(stage, batch.awaited(), progress.step)
            losses.add(_taken(stage, batch, progress.step), loss, right)
            progress.step += 1
            progress.waited = waited + ahead.waited
            if read := losses.full or _must_read(stage, progress, asked):
                seen = losses.read()
                progress.see(seen)
            if bar.live:
                seconds = clock.read() - begun
                bar.advance(lines.bar(stage, progress, progress.sums, seconds, done))
            if occasions.line_due(stage, progress):
                console.say(lines.step(stage, progress, seen[-1], clock.read()))
            if occasions.epoch_ends(stage, progress):
                break
            stop = stage.parallel.ranks.asked(asked) if read else []
            if stop or occasions.due(stage, progress, stage.recipe.checkpoint.every):
                progress.seconds = clock.read()
                save(stage, progress, folder)
            if stop:
                raise guard.interrupted(stop[0], folder, progress.step)
        stage.device.synchronise()
    progress.seconds = clock.seconds


def _batches(stage: Stage, epoch: int, first: int) -> Iterator[Batch]:
    """Yield what this process reads of an epoch, from its batch number ``first`` on."""
    plan = stage.recipe.train
    rank, world = stage.parallel.readers
    read = training_batches(
        stage.train,
        plan.batch,
        seed=plan.seed,
        epoch=epoch,
        first=first,
        drop_last=plan.drop_last,
        balanced=plan.balance == "sampling",
        rank=rank,
        world=world,
        shuffle=plan.shuffle,
        window=plan.shuffle_window,
        device=stage.device.torch,
    )
    return beside(read, stage.device.torch)


def _must_read(stage: Stage, progress: Progress, asked: list[int]) -> bool:
    """Say whether the losses are wanted now: a line, a checkpoint, the end, a signal to this process.

    The same on all ranks: of several, signals are heard where losses are read anyway.
    """
    alone = stage.parallel.ranks.world == 1
    saves = occasions.due(stage, progress, stage.recipe.checkpoint.every)
    ends = occasions.epoch_ends(stage, progress)
    return saves or ends or occasions.line_due(stage, progress) or (alone and bool(asked))


def _taken(stage: Stage, batch: Batch, step: int) -> Taken:
    return Taken(step, rate_factor(stage, step) * stage.recipe.optim.lr, batch.everyone)


def train_step(stage: Stage, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
    """Take one optimiser step; returns the mean loss and the number of right answers, not yet read.

    Both of one element, on the device: float64 (float32 on MPS) and int64. Of a batch that is divided,
    this process's own (``Parallel.count``).
    """
    plan, total = stage.recipe.train, len(batch.everyone)
    seed = fold(plan.seed, "dropout")
    begin_step(stage.model, seed=seed, step=step, first=batch.first, total=total)
    kept = mixing.share(stage.recipe.augment.mixup, plan.seed, step)
    x = mixing.mixed(prepare(stage, batch, generator(plan.seed, "augment", step), step), kept)
    groups.set_rate(stage.optimizer, rate_factor(stage, step))
    groups.drop(stage.optimizer, step, stage.recipe.schedule.factor, **stage.lengths)
    how: dict[str, Any] = {"total": total, "kept": kept, "step": step, "lengths": stage.lengths}
    value, right = steps.taken(stage, x, batch.labels, **how)
    if stage.averaged is not None:
        optim.average((stage.averaged, stage.model), plan.average, step)
    return value, right


def rehearse(stage: Stage, step: int = 0) -> float:
    """Time forward and backward of one batch (``rehearsal.seconds``). Nothing of the run is touched.

    ``step``: how far the run is, where that decides how large the pictures are.
    """
    plan = stage.recipe.train
    some = np.arange(min(plan.batch, len(stage.train)))
    batch = read_portion(stage.train, some, *stage.parallel.readers, stage.device.torch)
    x = prepare(stage, batch, generator(plan.seed, "rehearsal"), step)
    return rehearsal.seconds(stage, x, batch.labels)


def prepare(stage: Stage, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
    """Augment and preprocess the training batch of a step: float32 ``(N, 3, side, side)``.

    What is drawn is drawn for the whole batch, whatever part of it is here. Where frozen rows ran
    once, what enters the first row behind them instead.
    """
    plan, epoch = stage.recipe.augment, step // stage.steps_per_epoch
    prepared = sides.at(stage.preprocessing, stage.recipe, step, stage.total)
    draws = augmentation.draw(plan, prepared, batch.everyone, epoch, draw).rows(batch.rows)
    if stage.first:
        copy = in_turn(batch.indices, epoch, plan.copies) if plan.copies else draws.mirrored
        return features.chosen_views(batch.pictures, copy)
    noise = augmentation.noise_at(plan, stage.noise, step, **stage.lengths)
    return augmentation.apply(plan, prepared, noise, batch.pictures, draws)


def rate_factor(stage: Stage, step: int) -> float:
    """Return the factor of the peak rate at ``step``, whatever the schedule."""
    planned = schedule.factor(stage.recipe.schedule, step, stage.total, **stage.lengths)
    if stage.plateau is None:
        return planned
    return planned * (stage.plateau.lr / stage.recipe.optim.lr)


def _close_epoch(
    stage: Stage,
    progress: Progress,
    folder: Path,
    console: log.Console,
    found: dict[str, float],
) -> None:
    """Validate, write the epoch's line, and let the schedule and the stopping rule see it."""
    loss, right, seen = progress.sums
    seconds, waited = progress.seconds - progress.before[0], progress.waited - progress.before[1]
    line: dict[str, Any] = {
        "epoch": math.ceil(progress.step / stage.steps_per_epoch),
        "step": progress.step,
        "train_loss": loss / seen,
        "train_accuracy": right / seen,
        "learning_rate": rate_factor(stage, progress.step - 1) * stage.recipe.optim.lr,
        "seconds": progress.seconds,
        "images_per_second": seen / max(seconds, 1e-9),
        "waiting_share": waited / max(seconds, 1e-9),  # of the epoch's time, for pictures
        **found,
    }
    every = stage.recipe.evaluation.every
    if stage.validation and (
        occasions.due_within(stage, progress, every) or occasions.over(stage, progress)
    ):
        scores = validate(stage)
        line |= {"val_loss": scores.loss, "val_accuracy": scores.accuracy}
        _let_rules_see(stage, progress, scores.loss)
    if stage.parallel.ranks.main:
        log.add_metrics(folder / log.METRICS, line)
    console.say(lines.epoch(stage, line))
    progress.close_epoch()


def validate(stage: Stage) -> Scores:
    """Score the validation split."""
    assert stage.validation is not None
    return stage.score(stage.validation)


def _let_rules_see(stage: Stage, progress: Progress, loss: float) -> None:
    stage.is_best = loss < progress.best
    if stage.is_best:
        progress.best, progress.best_step = loss, progress.step
    if stage.plateau is not None:
        stage.plateau.see(loss)
    if stage.stopping is not None:
        progress.stopped = stage.stopping.see(loss)
