"""``fit``: a run from its recipe to its recorded result.

Whatever is random is a function of (seed, epoch, step). A run that was killed at any step and is
resumed therefore ends with the same bits, on the same device with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.data.loader import Batch, fold, generator, training_batches
from alexnet.errors import NotFinite
from alexnet.evaluation import Scores
from alexnet.models.build import begin_step
from alexnet.recipe import Duration, Recipe
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import augmentation, guard, lines, optim, record, schedule
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
) -> record.Result:
    """Train ``recipe`` in ``folder`` and return what it reached; a folder with this run is resumed.

    Raises ``UsageError`` before anything is written where recipe, data and network do not agree;
    ``NotFinite``, ``Interrupted`` or ``CheckpointError`` while training, with everything up to the
    last checkpoint saved.
    """
    console = console or log.Console()
    stage = set_up(recipe, device, root, console, folder=folder)
    with guard.owned(folder), guard.signals(console) as asked:
        record.open_folder(folder, stage, command)
        progress = restore(stage, folder, console)
        rate_before = device.matrix_rate()
        console.say(lines.beforehand(stage, progress, rehearse(stage)))
        while not _over(stage, progress):
            _train_epoch(stage, progress, folder, console, asked)
            _close_epoch(stage, progress, folder, console)
            due = _due(stage, progress, recipe.checkpoint.every)
            if asked or due or stage.is_best or _over(stage, progress):
                save(stage, progress, folder)
            if asked and not _over(stage, progress):
                raise guard.interrupted(asked[0], folder, progress.step)
        return record.finish(
            stage,
            folder,
            console,
            seconds=progress.seconds,
            rate_before=rate_before,
        )


def _train_epoch(
    stage: Stage, progress: Progress, folder: Path, console: log.Console, asked: list[int]
) -> None:
    """Train to the end of the epoch that ``progress`` is in, from wherever in it that is."""
    plan = stage.recipe.train
    epoch, first = divmod(progress.step, stage.steps_per_epoch)
    sums = list(progress.sums)
    begun, clock = progress.seconds, log.Clock(progress.seconds)
    batches = training_batches(
        stage.train,
        plan.batch,
        seed=plan.seed,
        epoch=epoch,
        first=first,
        drop_last=plan.drop_last,
        balanced=plan.balance == "sampling",
        device=stage.device.torch,
    )
    title = f"epoch {epoch + 1}/{stage.epochs}"
    with console.bar(title, stage.steps_per_epoch, first) as bar, clock.running():
        for done, batch in enumerate(batches, start=1):
            loss, right = train_step(stage, batch, progress.step, epoch)
            count = len(batch.labels)
            sums = [a + b for a, b in zip(sums, (loss * count, right, count), strict=True)]
            progress.step += 1
            if bar.live:
                bar.advance(lines.bar(stage, progress, sums, clock.read() - begun, done))
            if progress.step % stage.steps_per_epoch == 0 or _over(stage, progress):
                break
            if asked or _due(stage, progress, stage.recipe.checkpoint.every):
                progress.sums, progress.seconds = sums, clock.read()
                save(stage, progress, folder)
            if asked:
                raise guard.interrupted(asked[0], folder, progress.step)
        stage.device.synchronise()
    progress.sums, progress.seconds = sums, clock.seconds


def train_step(stage: Stage, batch: Batch, step: int, epoch: int) -> tuple[float, int]:
    """Take one optimiser step; returns the mean loss and the number of right answers.

    Raises ``NotFinite`` before the weights are touched.
    """
    plan = stage.recipe.train
    begin_step(stage.model, seed=fold(plan.seed, "dropout"), step=step)
    x = prepare(stage, batch, generator(plan.seed, "augment", step), epoch)
    with stage.device.autocast():
        logits = stage.forward(x)
    loss = mean_loss(logits.float(), batch.labels, plan.label_smoothing, stage.class_weights)
    value = loss.item()
    if not math.isfinite(value):
        raise NotFinite(_not_finite(stage, batch, step, value))
    loss.backward()  # type: ignore[no-untyped-call]
    optim.set_rate(stage.optimizer, rate_factor(stage, step))
    optim.freeze(stage.optimizer, step, steps_per_epoch=stage.steps_per_epoch, batch=plan.batch)
    stage.optimizer.step()
    stage.optimizer.zero_grad(set_to_none=True)
    if stage.averaged is not None:
        optim.average((stage.averaged, stage.model), plan.average, step)
    return value, int((logits.detach().argmax(1) == batch.labels).sum())


def mean_loss(
    logits: Tensor, labels: Tensor, smoothing: float, class_weights: Tensor | None
) -> Tensor:
    """Return the mean cross-entropy; with ``class_weights``, each picture by that of its class.

    Not ``F.cross_entropy``'s weights: those also weigh the classes that smoothing spreads to, and
    divide by the weights of the batch, so that a batch of rare classes would count no more.
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (each * class_weights[labels]).mean()


def rehearse(stage: Stage) -> float:
    """Time forward and backward of one batch on a copy: seconds. Nothing of the run is touched."""
    model = copy.deepcopy(stage.model)
    plan, device = stage.recipe.train, stage.device
    some = range(min(plan.batch, len(stage.train)))
    batch = stage.train.read(np.array(some), device.torch)
    x = prepare(stage, batch, generator(plan.seed, "rehearsal"), 0)
    seconds = []
    for _ in range(3):  # the first maps memory and chooses kernels
        start = time.perf_counter()
        with device.autocast():
            logits = model(x)
        F.cross_entropy(logits.float(), batch.labels).backward()  # type: ignore[no-untyped-call]
        device.synchronise()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def prepare(stage: Stage, batch: Batch, draw: torch.Generator, epoch: int) -> Tensor:
    """Augment and preprocess a training batch: float32 ``(N, 3, size, size)``."""
    plan, prepared = stage.recipe.augment, stage.preprocessing
    draws = augmentation.draw(plan, prepared, batch.indices, epoch, draw)
    return augmentation.apply(plan, prepared, stage.noise, batch.pictures, draws)


def rate_factor(stage: Stage, step: int) -> float:
    """Return the factor of the peak rate at ``step``, whatever the schedule."""
    if stage.plateau is not None:
        return stage.plateau.lr / stage.recipe.optim.lr
    return schedule.factor(
        stage.recipe.schedule,
        step,
        stage.total,
        steps_per_epoch=stage.steps_per_epoch,
        batch=stage.recipe.train.batch,
    )


def _close_epoch(stage: Stage, progress: Progress, folder: Path, console: log.Console) -> None:
    """Validate, write the epoch's line, and let the schedule and the stopping rule see it."""
    loss, right, seen = progress.sums
    earlier = log.read_metrics(folder / log.METRICS)
    seconds = progress.seconds - (earlier[-1]["seconds"] if earlier else 0.0)
    line: dict[str, Any] = {
        "epoch": math.ceil(progress.step / stage.steps_per_epoch),
        "step": progress.step,
        "train_loss": loss / seen,
        "train_accuracy": right / seen,
        "learning_rate": rate_factor(stage, progress.step - 1) * stage.recipe.optim.lr,
        "seconds": progress.seconds,
        "images_per_second": seen / max(seconds, 1e-9),
    }
    every = stage.recipe.evaluation.every
    if stage.validation and (_due(stage, progress, every) or _over(stage, progress)):
        scores = validate(stage)
        line |= {"val_loss": scores.loss, "val_accuracy": scores.accuracy}
        _let_rules_see(stage, progress, scores.loss)
    log.add_metrics(folder / log.METRICS, line)
    console.say(lines.epoch(stage, line))
    progress.sums = [0.0, 0.0, 0.0]


def validate(stage: Stage) -> Scores:
    """Score the validation split."""
    assert stage.validation is not None
    return stage.score(stage.validation)


def _let_rules_see(stage: Stage, progress: Progress, loss: float) -> None:
    stage.is_best = loss < progress.best
    progress.best = min(progress.best, loss)
    if stage.plateau is not None:
        stage.plateau.see(loss)
    if stage.stopping is not None:
        progress.stopped = stage.stopping.see(loss)


def _due(stage: Stage, progress: Progress, every: Duration) -> bool:
    steps = every.steps(steps_per_epoch=stage.steps_per_epoch, batch=stage.recipe.train.batch)
    return steps > 0 and progress.step % steps == 0


def _over(stage: Stage, progress: Progress) -> bool:
    return progress.step >= stage.total or progress.stopped


def _not_finite(stage: Stage, batch: Batch, step: int, loss: float) -> str:
    rate = rate_factor(stage, step) * stage.recipe.optim.lr
    first = ", ".join(map(str, batch.indices[:4].tolist()))
    return (
        f"the loss is {loss} at step {step} (learning rate {rate:.3g}, pictures {first}, ...). The "
        "last checkpoint is untouched. Lower optim.lr or lengthen schedule.warmup"
        + (", or set train.precision=float32" if stage.device.precision == "bf16" else "")
    )
