"""What cannot be trained, refused before anything is fetched for it or written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from alexnet.data.loader import Source, steps_per_epoch
from alexnet.data.splits import part_of
from alexnet.errors import RecipeError, UnknownName, UsageError
from alexnet.models import transfer
from alexnet.models.init import INITIALISATIONS
from alexnet.models.rows import BatchNorm
from alexnet.models.table import Network
from alexnet.recipe import Recipe
from alexnet.run.ranks import Ranks
from alexnet.training import parallel, ridge, sides
from alexnet.training.parallel import Parallel
from alexnet.training.transfer import network_of


def splits(recipe: Recipe) -> dict[str, str]:
    """Return how a recipe names its splits, by their role; empty where it has none."""
    data = recipe.data
    return {"train": data.train, "validation": data.validation, "test": data.test}


def refuse_early(recipe: Recipe, ranks: Ranks, *, resumed: bool) -> Parallel:
    """Find what cannot be meant before a data set is fetched for it; return who does what.

    Raises ``UsageError`` for a picture that is too small for the network, an unknown network,
    initialisation or split, and for processes that cannot share the run.
    """
    network = network_of(recipe.model, None)
    sides.refuse_unfit(recipe, network)
    ridge.refuse_unfit(recipe, ranks)
    transfer.frozen_rows(network, recipe.model.frozen)
    _refuse_statistics(recipe, network)
    if network.init not in INITIALISATIONS:
        raise UnknownName("initialisation", network.init, INITIALISATIONS)
    for expression in filter(None, splits(recipe).values()):
        part_of(expression)
    return _who_does_what(recipe, ranks, network, resumed=resumed)


def _refuse_statistics(recipe: Recipe, network: Network) -> None:
    """Refuse what ``evaluation.precise_bn`` could not do once the run has been trained."""
    asked = f"evaluation.precise_bn = {recipe.evaluation.precise_bn}"
    if recipe.evaluation.precise_bn == 0:
        return
    if not any(isinstance(row, BatchNorm) for row in network.rows):
        raise RecipeError(f"{asked}, but {network.name} has no batch norm; set it to 0")
    if recipe.evaluation.precise_bn == 1:
        raise RecipeError(f"{asked}: a variance needs two pictures or more, e.g. 5000")
    if recipe.model.frozen:
        raise RecipeError(
            f"{asked}, but model.frozen = {list(recipe.model.frozen)} keeps rows as they came, their "
            "statistics too; set it to 0"
        )


def _who_does_what(recipe: Recipe, ranks: Ranks, network: Network, *, resumed: bool) -> Parallel:
    shared = parallel.of(recipe, ranks, network, resumed=resumed)
    if shared.two_towers and recipe.model.frozen:
        raise RecipeError(
            "model.frozen needs the whole network in each process, and train.parallel = 'towers' "
            "halves it; set train.parallel = 'data'"
        )
    return shared


def refuse_overlap(parts: Mapping[str, Source], named: Mapping[str, str], *, chooses: bool) -> None:
    """Raise ``UsageError`` where a picture that is trained on is scored: its figure were worth nothing.

    ``named``: how the recipe names the splits that ``parts`` are. ``chooses``: something is chosen by
    the validation pictures, so none of them may be tested on either.
    """
    pairs = [("train", "validation"), ("train", "test")]
    for one, other in [*pairs, *([("validation", "test")] if chooses else [])]:
        if shared := _shared(parts.get(one), parts.get(other)):
            raise UsageError(
                f"data.{one} = {named[one]!r} and data.{other} = {named[other]!r} share "
                f"{shared} pictures; choose splits that do not overlap"
            )


def _shared(one: Source | None, other: Source | None) -> int:
    if one is None or other is None or one.images is not other.images:
        return 0
    return len(np.intersect1d(one.chosen, other.chosen))


def refuse_far(crop: int, side: int) -> None:
    """Raise ``RecipeError`` where ``crop`` moves stored pictures of ``side`` pixels by all that they are."""
    if crop >= side:
        raise RecipeError(
            f"augment.crop = {crop} moves pictures of {side} pixels by their whole side or more; set it "
            f"to {side - 1} at most"
        )


def refuse_unscored(recipe: Recipe, parts: Mapping[str, Source]) -> None:
    """Raise ``RecipeError`` where leaving out a partial batch would leave nothing of a split to score."""
    batch, named = recipe.evaluation.batch, splits(recipe)
    for name in {"validation", "test"} & parts.keys():
        if recipe.evaluation.drop_last and len(parts[name]) < batch:
            raise RecipeError(
                f"evaluation.batch = {batch} is more than the {len(parts[name])} pictures of data.{name} = "
                f"{named[name]!r}, and evaluation.drop_last leaves out the partial batch; lower "
                "evaluation.batch"
            )


def steps_of_an_epoch(recipe: Recipe, count: int, network: Network) -> int:
    """Count the steps of an epoch of ``count`` pictures.

    Raises ``RecipeError`` for an epoch, or a batch in it, that cannot be trained on.
    """
    batch, drop_last = recipe.train.batch, recipe.train.drop_last
    length = steps_per_epoch(count, batch, drop_last=drop_last)
    if not length:
        raise RecipeError(
            f"train.batch = {batch} is more than the {count} training pictures, and "
            "train.drop_last leaves out the partial batch; lower train.batch"
        )
    if network.norms_vectors and (batch == 1 or (count % batch == 1 and not drop_last)):
        raise RecipeError(
            f"train.batch = {batch} leaves a batch of one of {count} training pictures, which has no "
            f"variance for the batch norm behind {network.name}'s dense layers; set "
            "train.drop_last=true or another train.batch"
        )
    return length
