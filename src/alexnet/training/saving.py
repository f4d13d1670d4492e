"""From a run in progress to a checkpoint and back, without loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from alexnet.errors import CheckpointError, NotFinite
from alexnet.exchange.filling import tensors_of
from alexnet.run import checkpoint, log
from alexnet.training import optim, schedule
from alexnet.training.losses import Seen
from alexnet.training.stage import Stage


@dataclass
class Progress:
    """Where a run is: all that a checkpoint needs besides tensors."""

    step: int = 0  # optimiser steps done
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # epoch: loss, right, seen
    seconds: float = 0.0  # of training alone
    waited: float = 0.0  # of these, for pictures
    before: list[float] = field(default_factory=lambda: [0.0, 0.0])  # both, before this epoch
    best: float = math.inf  # lowest val_loss so far
    best_step: int = 0  # its step; 0: none yet, or saved before this was noted
    stopped: bool = False  # early stopping has spoken
    threads: int = field(default_factory=torch.get_num_threads)
    ranks: int = 1  # processes that shared the run

    def see(self, steps: Iterable[Seen]) -> None:
        """Take in what steps gave, in their order: the same sums however many are read at a time."""
        for of in steps:
            found = (of.loss * of.count, of.right, of.count)
            self.sums = [a + b for a, b in zip(self.sums, found, strict=True)]

    def close_epoch(self) -> None:
        """Start the sums of the next epoch."""
        self.sums, self.before = [0.0, 0.0, 0.0], [self.seconds, self.waited]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; JSON has no infinity."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Progress:
        """Rebuild from ``to_json``."""
        return cls(**{**plain, "best": math.inf if plain["best"] is None else plain["best"]})


def save(stage: Stage, progress: Progress, folder: Path) -> None:
    """Save everything that the rest of the run depends on; of several ranks, the first one writes.

    Raises ``NotFinite`` for weights that are no longer numbers, ``CheckpointError`` for a disk that
    does not take them; earlier checkpoints stay in both cases.
    """
    parallel = stage.parallel
    live = parallel.whole(stage.model.state_dict())
    if not optim.finite(live.values()):
        raise NotFinite(
            f"weights are no longer numbers after step {progress.step}; they were not saved, the "
            "last checkpoint is untouched. Lower optim.lr"
        )
    if stage.rows is not None:
        stage.rows.settle(stage.optimizer)
    memory = parallel.whole(optim.memory_of(stage.optimizer, stage.model))
    if stage.averaged is not None:
        memory |= {f"live/{name}": value for name, value in live.items()}
    rules = {
        "plateau": schedule.memory(stage.plateau),
        "stopping": schedule.memory(stage.stopping),
    }
    saved = checkpoint.Checkpoint(
        path=Path(_name(progress.step)),
        weights=live if stage.averaged is None else parallel.whole(stage.averaged.state_dict()),
        optimizer=memory,
        state={"progress": progress.to_json(), **rules},
        model=stage.card,
        input=stage.preprocessing.tensors(),
    )
    with parallel.ranks.behind_main():  # a large state takes longer than an exchange may
        if parallel.ranks.main:
            checkpoint.save(folder, saved, keep=stage.recipe.checkpoint.keep, is_best=stage.is_best)
    stage.is_best = False


def _name(step: int) -> str:
    """Return the name of a step's checkpoint; names sort as steps do."""
    return f"step-{step:08d}"


def restore(stage: Stage, folder: Path, console: log.Console) -> Progress:
    """Put the newest whole checkpoint back; a folder without one starts from the first step.

    Lines logged after the checkpoint are dropped: they will be written again. Raises
    ``CheckpointError`` for a checkpoint of another network.
    """
    ranks = stage.parallel.ranks
    if ranks.main:
        checkpoint.sweep(folder)
    if not checkpoint.every(folder):
        ranks.agree("the number of the checkpoint's step", 0)
        if ranks.main:
            log.keep_metrics(folder / log.METRICS, 0)
        return Progress(ranks=ranks.world)
    saved = checkpoint.newest(folder, console.say)
    if saved.model["network"] != stage.model.network.name:
        raise CheckpointError(
            f"{saved.path} holds network {saved.model['network']!r}, but the recipe in {folder} "
            f"asks for {stage.model.network.name!r}"
        )
    progress = Progress.from_json(saved.state["progress"])
    ranks.agree("the number of the checkpoint's step", progress.step)
    if ranks.main:
        checkpoint.set_aside_after(saved.path, console.say)
        if progress.best_step:
            checkpoint.point_at_best(folder, _name(progress.best_step))
    stage.restore_rules(saved.state["plateau"], saved.state["stopping"])
    _restore_tensors(stage, saved)
    if (
        ranks.main
    ):  # a line of this very step is of an epoch that is still to be scored, or scored again
        last = progress.step - (progress.sums[2] > 0)
        log.keep_metrics(folder / log.METRICS, last)
    _say_what_differs(stage, progress, console)
    console.say(f"resumed {folder} at step {progress.step} of {stage.total}")
    return progress


def _say_what_differs(stage: Stage, progress: Progress, console: log.Console) -> None:
    world = stage.parallel.ranks.world
    if stage.computing.cudnn_benchmark:
        console.say(
            "warning: cuDNN chooses its kernels by timing them: the result may differ in the last bits"
        )
    if progress.ranks != world:
        console.say(
            f"warning: saved by {progress.ranks} processes, going on with {world}: the result will "
            "differ in the last bits"
        )
    progress.ranks = world
    if progress.threads != torch.get_num_threads():
        console.say(
            f"warning: saved with {progress.threads} threads, going on with "
            f"{torch.get_num_threads()}: the result will differ in the last bits"
        )
    progress.threads = torch.get_num_threads()


def _restore_tensors(stage: Stage, saved: checkpoint.Checkpoint) -> None:
    own = stage.parallel.own
    live = own({k[5:]: v for k, v in saved.optimizer.items() if k.startswith("live/")})
    memory = own({k: v for k, v in saved.optimizer.items() if not k.startswith("live/")})
    _refuse_other_frozen(stage, saved)
    checkpoint.load_weights(stage.predictor, own(saved.weights), str(saved.path))
    if live:
        checkpoint.load_weights(stage.model, live, str(saved.path))
    optim.restore_memory(stage.optimizer, stage.model, memory)
    if stage.masters is not None:
        stage.masters.round_all()


def _refuse_other_frozen(stage: Stage, saved: checkpoint.Checkpoint) -> None:
    """Frozen rows ran once, with the weights that the run began with: it goes on with no others."""
    rows = [row.name for row in stage.model.network.rows[: stage.first]]
    for name, value in tensors_of(stage.model, rows).items():
        if name not in saved.weights or not torch.equal(value.cpu(), saved.weights[name]):
            raise CheckpointError(
                f"{saved.path} began with other weights in {name} than model.weights = "
                f"{stage.recipe.model.weights!r} gives now; put back the file it began with"
            )
