"""A kernel machine on frozen convolutions, solved at once: ridge regression with a Gaussian kernel.

With ``K`` the kernel of every two training pictures and ``Y`` their labels as 0 and 1, less their
mean, the weights are ``a = (K + penalty/w)^-1 Y``, ``w`` the weight of a picture's class (1 unless
classes are balanced). What the machine would say of a picture that it had not learned from comes
with them: ``Y_i - a_i / ((K + penalty/w)^-1)_ii`` (Rasmussen and Williams 2006, section 5.4.2). Its
answers are scaled so that these left-out ones have the least cross-entropy: the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.data.loader import in_order
from alexnet.errors import DataError, RecipeError
from alexnet.evaluation import Answers
from alexnet.intervals import wilson
from alexnet.models.kernel_machine import Examples, Gaussian
from alexnet.models.layers import in_full
from alexnet.recipe import Augment, Optim, Recipe, Schedule
from alexnet.run import log
from alexnet.run.machine import free_memory
from alexnet.run.memory import size
from alexnet.run.ranks import Ranks
from alexnet.training import left_out

if TYPE_CHECKING:
    from alexnet.training.learner import Learner
    from alexnet.training.saving import Progress
    from alexnet.training.stage import Stage

NAME = "ridge"  # of optim.name
SCALES = (1e-2, 1e4)  # between which the logits' scale is sought
READ = 256  # pictures whose features are read at a time


@dataclass(frozen=True)
class Solved:
    """How well a machine does, in means over the training pictures: with each of them left out, and
    with all.
    """

    left_out_loss: float
    left_out_right: int
    loss: float
    right: int
    count: int
    left_out: Answers = field(repr=False, compare=False)  # to each picture, in the split's order

    def in_words(self) -> str:
        """Say what the left-out answers are worth."""
        low, high = (100 * bound for bound in wilson(self.left_out_right, self.count))
        return (
            f"left out one at a time: {100 * self.left_out_right / self.count:.2f} % of {self.count:,} "
            f"training pictures right ({low:.2f} to {high:.2f}), loss {self.left_out_loss:.4f}"
        )

    def to_json(self) -> dict[str, float]:
        """Return what stands in a run's metrics besides what every run has."""
        return {
            "left_out_loss": self.left_out_loss,
            "left_out_accuracy": self.left_out_right / self.count,
        }


def refuse_unfit(recipe: Recipe, ranks: Ranks) -> None:
    """Raise ``RecipeError`` for what a kernel machine has no use for, before anything is fetched."""
    plan, solves = recipe.model, recipe.optim.name == NAME
    if solves != (plan.kernel > 0):
        raise RecipeError(
            f"model.kernel = {plan.kernel:g} and optim.name = {recipe.optim.name!r}: a kernel machine is "
            "solved by optim.name = 'ridge', which solves nothing else; set both, e.g. "
            "model.kernel=4.0, or neither"
        )
    if not solves:
        return
    left = recipe.augment.model_copy(update={"flip": "none"})
    unused = {
        "model.head": plan.head is not None or plan.head_norm,
        "model.dropout": bool(plan.dropout),
        "optim": recipe.optim.model_copy(update={"weight_decay": 0.0}) != Optim(name="ridge"),
        "augment": left != Augment(flip="none"),
        "schedule": recipe.schedule != Schedule(),
        "train.epochs": recipe.train.epochs.steps(steps_per_epoch=1, batch=1) != 1,
        "train.label_smoothing": recipe.train.label_smoothing > 0,
        "train.average": recipe.train.average > 0,
        "train.balance": recipe.train.balance == "sampling",
        "train.sides": bool(recipe.train.sides),
        "evaluation.penalty": recipe.evaluation.penalty,
    }
    if found := [key for key, is_set in unused.items() if is_set]:
        raise RecipeError(
            f"{found[0]} is of no use to optim.name = 'ridge', which solves the head once from whole "
            "pictures, mirrored or not; leave it at its default (train.epochs: '1 epochs'; of optim, "
            "weight_decay alone is its own)"
        )
    if not recipe.optim.weight_decay:
        raise RecipeError(
            "optim.weight_decay = 0.0: it is the penalty of optim.name = 'ridge', without which the "
            "machine only learns by heart; set it, e.g. to 0.01"
        )
    if ranks.world > 1:
        raise RecipeError(
            f"optim.name = 'ridge' solves in one process, and there are {ranks.world}; start one"
        )


def refuse_unready(recipe: Recipe, learns: Learner, count: int) -> None:
    """Raise ``RecipeError`` where layers before the machine still learn, or ``count`` training
    pictures are too many for the memory.
    """
    if recipe.optim.name != NAME:
        return
    rows = learns.whole.network.rows
    if not isinstance(rows[learns.first], Examples):
        raise RecipeError(
            f"optim.name = 'ridge' needs what frozen layers give, and model.frozen = "
            f"{list(recipe.model.frozen)} does not hold all of {learns.whole.network.name}'s before "
            f'{rows[-1].name}; set model.frozen=["conv*"], its norms too where it has some'
        )
    device = next(learns.model.parameters()).device
    needed, free = memory(count), free_memory(device)
    if free is not None and needed > free:
        raise RecipeError(
            f"a kernel machine of {count:,} training pictures needs roughly {size(needed)} for their "
            f"products, and {device} has {size(free)} free; train on fewer, e.g. data.train = "
            f"'train[:{max(1, math.isqrt(free // 16) // 100 * 100)}]', or a head of another kind (imagenette-head)"
        )


def memory(count: int) -> int:
    """Return the bytes that solving takes: two matrices of all pairs in float64."""
    return 16 * count**2


def multiply_adds(count: int, width: int, classes: int) -> float:
    """Return what solving costs for each of ``count`` pictures of ``width`` features: the products of
    all pairs, a Cholesky factor (N^3/6), the inverse (N^3/3) and the weights.
    """
    return count * width + count**2 / 2 + count * classes


def learn(stage: Stage, progress: Progress, folder: Path, console: log.Console) -> dict[str, float]:
    """Learn all there is to learn at once; returns what stands in the metrics besides.

    What is said of left-out pictures is written into ``folder``, the run's.
    """
    clock = log.Clock(progress.seconds)
    with clock.running():
        solved = solve(stage)
        stage.device.synchronise()
    progress.step, progress.seconds = stage.total, clock.seconds
    progress.sums = [solved.loss * solved.count, solved.right, solved.count]
    console.say(solved.in_words())
    try:
        console.say(left_out.write(stage, solved.left_out, folder))
    except DataError as error:  # a table besides: what was solved is worth more
        console.say(f"warning: {error}")
    return solved.to_json()


def solve(stage: Stage) -> Solved:
    """Fill the machine of a run. Raises ``RecipeError`` where the penalty is too small to solve it."""
    plan, network = stage.recipe.optim, stage.model.network
    machine = next(row for row in network.rows if isinstance(row, Gaussian))
    examples, labels = _examples(stage)
    penalty = torch.full((len(labels),), plan.weight_decay, dtype=torch.float64)
    if stage.class_weights is not None:
        penalty = penalty / stage.class_weights.cpu().double()[labels.cpu()]
    try:
        weights, unseen, fitted = ridge(examples, labels, network.classes, machine.gamma, penalty)
    except ArithmeticError:
        raise RecipeError(
            f"optim.weight_decay = {plan.weight_decay:g} is too small for these {len(labels):,} "
            "pictures: their kernel cannot be solved to the precision of the machine; raise it, "
            "e.g. to 0.01"
        ) from None
    scale = best_scale(unseen, labels)
    with torch.no_grad():
        stage.model.get_parameter("head1.weight").copy_(examples)
        stage.model.get_parameter("head2.weight").copy_(scale * weights.T)
        stage.model.get_parameter("head2.bias").zero_()
    logs = (scale * unseen).log_softmax(1).cpu()
    return Solved(
        *_scored(scale * unseen, labels),
        *_scored(scale * fitted, labels),
        count=len(labels),
        left_out=Answers(logs, labels.cpu(), "left out"),
    )


def _examples(stage: Stage) -> tuple[Tensor, Tensor]:
    """Return the training pictures' vectors ``(N, features)``, each the mean of its views, and labels."""
    where = stage.device.torch if stage.device.torch.type == "cuda" else torch.device("cpu")
    vectors, labels = [], []
    for batch in in_order(stage.train, READ, where):
        vectors.append(F.normalize(batch.pictures.float().mean(1), dim=1))
        labels.append(batch.labels)
    return torch.cat(vectors), torch.cat(labels)


def ridge(
    examples: Tensor, labels: Tensor, classes: int, gamma: float, penalty: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve for ``examples`` ``(N, features)`` of length 1 with ``labels`` ``(N,)`` and a ``penalty``
    for each ``(N,)``.

    Returns float32 ``(N, classes)`` thrice: the weights, the answers of the machine with each picture
    left out, and with all. Raises ``ArithmeticError`` for a kernel that is singular.
    """
    with in_full():
        kernel = examples @ examples.T
    kernel = kernel.sub_(1).mul_(gamma).exp_().double()
    penalty = penalty.to(kernel.device, torch.float64)
    kernel.diagonal().copy_(1 + penalty)
    wanted = F.one_hot(labels, classes).double() - 1 / classes
    factor, info = torch.linalg.cholesky_ex(kernel)
    if int(info):
        raise ArithmeticError("the kernel is singular")
    del kernel
    inverse = torch.cholesky_inverse(factor)
    del factor
    weights = inverse @ wanted
    left_out = wanted - weights / inverse.diagonal()[:, None]
    fitted = wanted - penalty[:, None] * weights
    return weights.float(), left_out.float(), fitted.float()


def best_scale(answers: Tensor, labels: Tensor) -> float:
    """Return the factor that makes ``answers`` ``(N, classes)`` the logits of least cross-entropy.

    That is convex in the factor; it is sought between the ``SCALES`` to a thousandth of itself.
    """
    low, high = map(math.log, SCALES)
    while high - low > 1e-3:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        at_a, at_b = (_scored(math.exp(x) * answers, labels)[0] for x in (a, b))
        low, high = (low, b) if at_a < at_b else (a, high)
    return math.exp((low + high) / 2)


def _scored(logits: Tensor, labels: Tensor) -> tuple[float, int]:
    right = int((logits.argmax(1) == labels).sum())
    return float(F.cross_entropy(logits.double(), labels)), right
