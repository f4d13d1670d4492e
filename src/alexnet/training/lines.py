"""The figures a person reads while a run goes."""

from __future__ import annotations

from typing import Any

from alexnet import recipe as recipes
from alexnet.models import table
from alexnet.run.log import minutes
from alexnet.run.memory import opening_text
from alexnet.training.losses import Seen
from alexnet.training.saving import Progress
from alexnet.training.stage import Stage

UPDATE = 1.15  # a step with its update and its reading, over forward and backward alone


def beforehand(stage: Stage, progress: Progress, step_seconds: float) -> str:
    """Say what is about to happen and roughly how long it takes on this machine.

    ``step_seconds``: forward and backward of the next batch, just timed.
    """
    if stage.solves:
        return _to_solve(stage)
    total = table.totals(table.trace(stage.model.network, stage.model.size))
    left = stage.total - progress.step
    steps = range(progress.step, stage.total)
    now, mean = stage.multiply_adds(steps[:1]), stage.multiply_adds(steps)
    work = mean * left * stage.recipe.train.batch
    return (
        f"{stage.recipe.name}: {stage.model.network.name} ({total.trainable / 1e6:.1f} M weights) at "
        f"{stage.model.size}x{stage.model.size}, {len(stage.train):,} training pictures{_held_out(stage)}, "
        f"{stage.epochs} epochs of {stage.steps_per_epoch} steps\n"
        f"on {stage.device.describe()}: {work / 1e12:.1f} T multiply-adds, roughly "
        f"{minutes(step_seconds * UPDATE * left * mean / max(now, 1.0))} at the present speed of this machine\n"
        f"{opening_text(stage.memory)}{_of_mixtures(stage)}"
    )


def _to_solve(stage: Stage) -> str:
    count = len(stage.train)
    work = stage.multiply_adds(range(1)) * count
    return (
        f"{stage.recipe.name}: {stage.model.network.name} at {stage.model.size}x{stage.model.size}, a kernel "
        f"machine of {count:,} training pictures{_held_out(stage)}, solved at once\n"
        f"on {stage.device.describe()}: {work / 1e12:.1f} T multiply-adds\n{opening_text(stage.memory)}"
    )


def _held_out(stage: Stage) -> str:
    """Say how many pictures are not trained on, and what for."""
    others = (("validation", stage.validation), ("test", stage.test))
    told = ", ".join(f"{len(part):,} for {name}" for name, part in others if part is not None)
    return f" ({told})" if told else ""


def _of_mixtures(stage: Stage) -> str:
    """Say what the training figures are of, where they are not of pictures."""
    if not stage.recipe.augment.mixup:
        return ""
    return "\nloss and acc in training are of mixed pictures, acc against the heavier of two labels"


def bar(stage: Stage, progress: Progress, sums: list[float], seconds: float, done: int) -> str:
    """Write the figures beside the live bar; ``done`` steps took ``seconds`` in this process."""
    loss, right, seen = sums
    figures = f"loss {loss / seen:.3f}  acc {right / seen:.3f}  " if seen else ""
    rate = done / max(seconds, 1e-9)
    of_epoch = -progress.step % stage.steps_per_epoch
    of_run = stage.total - progress.step
    return (
        f"{figures}{rate * stage.recipe.train.batch:.0f} images/s  "
        f"left: epoch {minutes(of_epoch / rate)}, run {minutes(of_run / rate)}"
    )


def step(stage: Stage, progress: Progress, seen: Seen, seconds: float) -> str:
    """Write the line about one batch that has just been trained on."""
    number, of = (progress.step - 1) % stage.steps_per_epoch + 1, stage.steps_per_epoch
    return (
        f"epoch {(progress.step - 1) // of + 1}/{stage.epochs}  batch {number}/{of}  "
        f"loss {seen.loss:.4f}  acc {seen.right / seen.count:.4f}  {minutes(seconds)}"
    )


def epoch(stage: Stage, line: dict[str, Any]) -> str:
    """Write the line that stays when an epoch is over."""
    width = len(str(stage.epochs))
    taken = line["step"] - (line["epoch"] - 1) * stage.steps_per_epoch  # of a last part, fewer
    when = f"epoch {line['epoch']:>{width}}/{stage.epochs}  {taken} steps"
    text = (
        f"{'solved' if stage.solves else when}  {minutes(line['seconds']):>6}  "
        f"loss {line['train_loss']:.4f}  acc {line['train_accuracy']:.4f}"
    )
    if "val_loss" in line:
        text += f"  val_loss {line['val_loss']:.4f}  val_acc {line['val_accuracy']:.4f}"
    if stage.solves:
        return text
    text += f"  lr {line['learning_rate']:.2g}  {line['images_per_second']:.0f} images/s"
    return text + _published(stage, line["epoch"])


def _published(stage: Stage, number: int) -> str:
    """Write what was published for an epoch, where it was."""
    published = recipes.compared(stage.recipe)
    if published is None or number > len(published.val_accuracy):
        return ""
    return f"  (published val_acc {published.val_accuracy[number - 1]:.4f})"
