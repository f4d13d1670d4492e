"""What a step does once its pictures are prepared: forward, backward, update.

Tensors in, tensors out: no number is read on the way, so that it may run as one CUDA graph (``captured``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from alexnet.models.build import AlexNet, draw_masks
from alexnet.training import execution, groups
from alexnet.training.losses import batch_loss, wide

if TYPE_CHECKING:
    from alexnet.training.stage import Stage

Lengths = dict[str, int]  # what turns a duration into steps


def taken(
    stage: Stage, x: Tensor, labels: Tensor, *, total: int, kept: float, step: int, lengths: Lengths
) -> tuple[Tensor, Tensor]:
    """Move the weights by what ``x`` ``(N, ...)`` teaches; returns loss and right answers, unread.

    ``total``: pictures of the whole batch; ``kept``: ``mixing.share``. The groups' rates are set and
    the masks of dropout begun. A CUDA graph, where that was decided.
    """

    freeze = partial(groups.freeze, stage.optimizer, step, **lengths)

    def learn(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return _learn(stage, x, labels, total, kept, freeze=freeze)

    draw_ahead(stage, len(labels))
    over = groups.over(stage.optimizer, step, **lengths)
    if any(over):
        spare(stage)
    if stage.captured is None:
        return learn(x, labels)
    return stage.captured(learn, x, labels, key=(over, total, kept))


def spare(stage: Stage) -> None:
    """Compute no gradients for groups whose time is over, nor for what lies before them alone.

    Not where several processes add theirs up, which have to be the same ones throughout, where the
    reported loss counts the weights that learn, or where nothing would be left to learn.
    """
    rules = stage.optimizer.param_groups
    if stage.parallel.ranks.world > 1 or stage.recipe.evaluation.penalty or _all_over(rules):
        return
    done = {id(p) for group in rules if group["over"] for p in group["params"] if p.requires_grad}
    networks = [stage.model, *([stage.masters.working] if stage.masters else [])]
    names = [name for name, p in stage.model.named_parameters() if id(p) in done]
    for parameter in (network.get_parameter(name) for network in networks for name in names):
        parameter.requires_grad_(False)


def _all_over(rules: list[dict[str, Any]]) -> bool:
    return all(group["over"] for group in rules)


def draw_ahead(stage: Stage, count: int) -> None:
    """Draw dropout's masks for ``count`` pictures before a forward pass compiled or replayed."""
    if stage.computing.drawn_ahead and isinstance(stage.model, AlexNet):
        draw_masks(stage.model, count, stage.device.torch)


def _learn(
    stage: Stage,
    x: Tensor,
    labels: Tensor,
    total: int,
    kept: float,
    *,
    freeze: partial[None],
) -> tuple[Tensor, Tensor]:
    with stage.device.autocast():
        logits = stage.forward(x)
    how = (logits.float(), labels, stage.recipe.train.label_smoothing, stage.class_weights, total)
    loss = batch_loss(stage.parallel, *how, kept)
    right = (logits.detach().argmax(1) == labels).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    if stage.masters is not None:
        stage.masters.take_gradients(stage.optimizer)
    value = wide(loss.detach())
    if stage.recipe.evaluation.penalty:
        value = value + wide(groups.penalty(stage.model, stage.recipe.optim))
    freeze()
    execution.update(stage.optimizer, stage.masters, stage.rows)
    return value, right
