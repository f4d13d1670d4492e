"""How a run scores itself: in its views, over its ranks, with the peculiarities that it was asked for.

A published program may leave pictures out, keep dropout active, or count the weights' penalty as
loss. Each is a key of ``[evaluation]``, off by default; ``peculiarities`` goes into the record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alexnet.data.loader import Resident, Source
from alexnet.data.order import fold
from alexnet.evaluation import Scores, evaluate
from alexnet.models.build import AlexNet
from alexnet.run import precise_bn
from alexnet.run.ranks import ALONE
from alexnet.training import features, groups

if TYPE_CHECKING:
    from alexnet.training.stage import Stage


def score(stage: Stage, source: Source | Resident, views: str | None) -> Scores:
    """Score the weights that the run would predict with; ``views``: None: those of its recipe."""
    plan = stage.recipe.evaluation
    whole = len(source) // plan.batch * plan.batch
    found = _score(stage, source.first(whole) if plan.drop_last else source, views or plan.views)
    return replace(found, loss=found.loss + penalty(stage, averaged=True))


def views(stage: Stage, scores: Scores) -> dict[str, Scores]:
    """Return the test part's scores by views: the recipe's own, which are ``scores``, and those besides.

    Statistics of batch norm that are taken anew, in batches as in training, count as views of their own.
    """
    plan = stage.recipe.evaluation
    found: dict[str, Scores] = {plan.views: scores}
    found |= {other: stage.score(stage.test, other) for other in plan.also if other != plan.views}
    if plan.precise_bn:
        of = (stage.train, stage.predictor, stage.preprocessing, stage.device)
        size = max(2, stage.recipe.train.batch)
        with precise_bn.taken_from(*of, count=plan.precise_bn, batch=size, between=stage.between):
            found[f"{plan.views}, precise BN"] = stage.score(stage.test)
    return found


def _score(stage: Stage, source: Source | Resident, views: str) -> Scores:
    plan = stage.recipe.evaluation
    masks = fold(stage.recipe.train.seed, "scoring") if plan.dropout else None
    top = tuple(
        k for k in plan.top if k <= stage.model.network.classes
    )  # all are among all of them
    if features.hold(source):
        assert isinstance(stage.model, AlexNet)
        assert isinstance(stage.predictor, AlexNet)
        how = features.Plan(stage.model, stage.first, stage.preprocessing, stage.device)
        return features.score(
            how,
            stage.predictor,
            source,
            views=views,
            batch=plan.batch,
            top=top,
            dropout=masks,
            between=stage.between,
        )
    return evaluate(
        stage.predictor,
        source,
        stage.preprocessing,
        stage.device,
        views=views,
        batch=plan.batch,
        top=top,
        ranks=stage.parallel.ranks if stage.parallel.divided else ALONE,
        dropout=masks,
        between=stage.between,
    )


def penalty(stage: Stage, *, averaged: bool = False) -> float:
    """Return what weight decay adds to the run's losses, 0 where it is not asked for.

    Of the weights in training, or of their running average where ``averaged`` and there is one.
    """
    if not stage.recipe.evaluation.penalty:
        return 0.0
    return float(groups.penalty(stage.predictor if averaged else stage.model, stage.recipe.optim))


def peculiarities(stage: Stage, scores: Scores) -> dict[str, Any]:
    """Return what a reader of the test's figures must know about them."""
    return {
        "pictures": scores.count,
        "of": len(stage.test),
        "dropout": stage.recipe.evaluation.dropout,
        "penalty": penalty(stage, averaged=True),
    }
