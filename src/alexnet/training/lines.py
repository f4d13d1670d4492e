"""The figures a person reads while a run goes."""

from __future__ import annotations

from typing import Any

from alexnet.run.log import minutes
from alexnet.training.saving import Progress
from alexnet.training.stage import Stage


def bar(stage: Stage, progress: Progress, sums: list[float], seconds: float, done: int) -> str:
    """Write the figures beside the live bar; ``done`` steps took ``seconds`` in this process."""
    loss, right, seen = sums
    rate = done / max(seconds, 1e-9)
    of_epoch = -progress.step % stage.steps_per_epoch
    of_run = stage.total - progress.step
    return (
        f"loss {loss / seen:.3f}  acc {right / seen:.3f}  "
        f"{rate * stage.recipe.train.batch:.0f} images/s  "
        f"left: epoch {minutes(of_epoch / rate)}, run {minutes(of_run / rate)}"
    )


def epoch(stage: Stage, line: dict[str, Any]) -> str:
    """Write the line that stays when an epoch is over."""
    width = len(str(stage.epochs))
    text = (
        f"epoch {line['epoch']:>{width}}/{stage.epochs}  {stage.steps_per_epoch} steps  "
        f"{minutes(line['seconds']):>6}  loss {line['train_loss']:.4f}  acc {line['train_accuracy']:.4f}"
    )
    if "val_loss" in line:
        text += f"  val_loss {line['val_loss']:.4f}  val_acc {line['val_accuracy']:.4f}"
    return f"{text}  lr {line['learning_rate']:.2g}  {line['images_per_second']:.0f} images/s"
