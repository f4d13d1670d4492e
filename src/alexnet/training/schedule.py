"""The learning rate over time, and when to stop.

``factor`` is a pure function of the step. Plateau and early stopping remember what they have seen;
their memory is a few numbers, saved with the run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from alexnet.recipe import Recipe, Schedule


def factor(schedule: Schedule, step: int, total: int, *, steps_per_epoch: int, batch: int) -> float:
    """Return the factor of the peak rate at ``step`` (0-based) of ``total``.

    Warm-up is linear from ``start`` to 1. After it: ``one-cycle`` falls linearly and ``cosine`` by
    half a cosine to ``end``; ``step`` multiplies by ``factor`` every so often, ``drops`` at the
    times in ``at``, as a hand would; ``constant`` and ``plateau`` stay.
    """
    warmup = schedule.warmup.steps(steps_per_epoch=steps_per_epoch, batch=batch)
    if step < warmup:
        return schedule.start + (1 - schedule.start) * step / warmup
    share = (step - warmup) / max(1, total - warmup)
    if schedule.name == "one-cycle":
        return 1 + (schedule.end - 1) * share
    if schedule.name == "cosine":
        return schedule.end + (1 - schedule.end) * (1 + math.cos(math.pi * share)) / 2
    if schedule.name == "step":
        every = max(1, schedule.every.steps(steps_per_epoch=steps_per_epoch, batch=batch))
        return float(schedule.factor ** (step // every))
    if schedule.name == "drops":
        times = [at.steps(steps_per_epoch=steps_per_epoch, batch=batch) for at in schedule.at]
        return float(schedule.factor ** sum(step >= time for time in times))
    return 1.0


@dataclass
class Plateau:
    """Reduce the rate when a loss stops falling, by Keras's exact rules (``ReduceLROnPlateau``).

    An improvement is a fall of more than ``min_delta``, absolute; the rate falls when ``wait``
    reaches ``patience``.
    """

    lr: float
    factor: float
    patience: int
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0
    best: float = math.inf
    wait: int = 0
    cooling: int = 0

    def see(self, loss: float) -> bool:
        """Take in one validation's loss; returns whether the rate was reduced."""
        if self.cooling:
            self.cooling, self.wait = self.cooling - 1, 0
        if loss < self.best - self.min_delta:
            self.best, self.wait = loss, 0
            return False
        if self.cooling:
            return False
        self.wait += 1
        if self.wait < self.patience or self.lr <= self.min_lr:
            return False
        self.lr = max(self.lr * self.factor, self.min_lr)
        self.cooling, self.wait = self.cooldown, 0
        return True


@dataclass
class EarlyStopping:
    """Stop when a loss has not fallen for ``patience`` validations, as Keras does (min_delta 0)."""

    patience: int
    best: float = math.inf
    wait: int = 0
    epochs: int = 0  # validations so far: one an epoch in Keras

    def see(self, loss: float) -> bool:
        """Take in one validation's loss; returns whether to stop."""
        self.wait = 0 if loss < self.best else self.wait + 1
        self.best = min(self.best, loss)
        self.epochs += 1
        return self.wait >= self.patience and self.epochs > 1


def rules(recipe: Recipe) -> tuple[Plateau | None, EarlyStopping | None]:
    """Return what watches the validation loss, where the recipe asks for it."""
    s, patience = recipe.schedule, recipe.train.early_stopping
    plateau = Plateau(recipe.optim.lr, s.factor, s.patience, s.min_delta, s.cooldown, s.min_lr)
    stopping = EarlyStopping(patience) if patience else None
    return plateau if s.name == "plateau" else None, stopping


def memory(of: Plateau | EarlyStopping | None) -> dict[str, float] | None:
    """Return plain values to save; rebuilding with them gives the same object."""
    return None if of is None else {k: v for k, v in asdict(of).items() if v != math.inf}
