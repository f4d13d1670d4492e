"""What is due at a step of a run: a checkpoint, a validation, a line, the end of an epoch, its own end."""

from __future__ import annotations

from alexnet.recipe import Duration
from alexnet.training.saving import Progress
from alexnet.training.stage import Stage


def due(stage: Stage, progress: Progress, every: Duration) -> bool:
    """Say whether something is due at the step that was just taken."""
    steps = _steps(stage, every)
    return steps > 0 and progress.step % steps == 0


def _steps(stage: Stage, every: Duration) -> int:
    """Return an interval in steps: 0, for never, only where it was asked for."""
    return max(every.steps(**stage.lengths), 1 if every.amount else 0)


def due_within(stage: Stage, progress: Progress, every: Duration) -> bool:
    """Say whether something was due in the epoch that ends now, at its end or before."""
    steps = _steps(stage, every)
    begun = (progress.step - 1) // stage.steps_per_epoch * stage.steps_per_epoch
    return steps > 0 and progress.step // steps > begun // steps


def line_due(stage: Stage, progress: Progress) -> bool:
    """Say whether a line about this batch is due; counted within the epoch, or in the run if it is longer."""
    every = _steps(stage, stage.recipe.train.log_every)
    number = (progress.step - 1) % stage.steps_per_epoch + 1
    counted = number if every <= stage.steps_per_epoch else progress.step
    return every > 0 and counted % every == 0


def epoch_ends(stage: Stage, progress: Progress) -> bool:
    """Say whether an epoch ends here, a last partial one too."""
    return progress.step % stage.steps_per_epoch == 0 or over(stage, progress)


def unscored(stage: Stage, progress: Progress) -> bool:
    """Say whether an epoch's steps are all taken, but it was left before it was scored and closed."""
    return epoch_ends(stage, progress) and progress.sums[2] > 0


def over(stage: Stage, progress: Progress) -> bool:
    """Say whether the run has come to its end, or was stopped by a rule."""
    return progress.step >= stage.total or progress.stopped
