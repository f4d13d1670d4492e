"""The reference AlexNet: reproduced, trained, measured and shipped.

    >>> import alexnet
    >>> run = alexnet.train("cifar10-quick", out="runs/a")
    >>> model = alexnet.load("runs/a")
    >>> alexnet.predict(model, "cat.jpg", top=3)

torch is imported when a verb needs it, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AlexNetError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from alexnet.evaluation import Scores
    from alexnet.exploration.embedding import Embedding
    from alexnet.prediction import Ranked
    from alexnet.recipe import Recipe
    from alexnet.reporting.samples import Sample
    from alexnet.run.classifier import Classifier
    from alexnet.run.log import Console
    from alexnet.training.record import Result

    Model = Classifier | str | Path

__all__ = [
    "AlexNetError",
    "__version__",
    "embed",
    "evaluate",
    "load",
    "predict",
    "resume",
    "sample",
    "train",
]
__version__ = "0.1.0"


def train(
    recipe: str | Recipe,
    out: str | Path | None = None,
    *,
    override: Mapping[str, Any] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    console: Console | None = None,
    command: str = "",
) -> Result:
    """Train a recipe (a name, a path ending in .toml, or a ``Recipe``) and draw its pictures.

    A path of photographs (a folder, a tar, a list) is trained on by the recipe ``photos``.

    ``out`` is the run's folder (default: a new one under ``runs/``); one that holds a run already
    is refused. ``override`` replaces recipe keys, e.g. ``{"optim.lr": 0.02}``.

    Returns the finished run. Raises ``UsageError`` before anything is written where the call is
    wrong, ``TrainingError`` or ``CheckpointError`` where the run cannot go on.
    """
    from alexnet import recipe as recipes
    from alexnet.run.log import Console
    from alexnet.training import record

    changes = dict(override or {})
    if isinstance(recipe, str) and _is_photographs(recipe):
        changes, recipe = {"data.name": str(Path(recipe).resolve()), **changes}, "photos"
    console = console or Console()
    if isinstance(recipe, str) and recipe in recipes.names() and Path(recipe).is_dir():
        console.say(f"the recipe {recipe}; for the folder of that name, write {recipe}/")
    plan = recipes.load(recipe) if isinstance(recipe, str) else recipe
    plan = recipes.override(plan, changes)

    def choose(attempt: int) -> str:
        folder = Path(out) if out is not None else record.free_folder(plan.name)
        if not attempt:  # else torchrun started again what it had begun in this very folder
            record.refuse_taken(folder)
        return str(folder)

    return _fit(plan, choose, device, data_root, console, command)


def _is_photographs(name: str) -> bool:
    from alexnet import recipe as recipes
    from alexnet.data.photos.folders import is_place

    return name not in recipes.names() and is_place(Path(name).expanduser())


def resume(
    run: str | Path,
    *,
    device: str = "auto",
    data_root: str | Path | None = None,
    console: Console | None = None,
) -> Result:
    """Go on with an interrupted run from its newest whole checkpoint; a finished one is returned.

    On the same device with the same number of threads the result has the same bits as that of a
    run that was never interrupted. Raises ``CheckpointError`` for a folder that holds no run.
    """
    from alexnet.run.log import Console
    from alexnet.training import record

    folder, console = Path(run), console or Console()
    plan = record.read_recipe(folder)
    if (folder / record.RESULT).is_file():
        console.say(f"{folder} is finished already")
        return record.read_result(folder)
    return _fit(plan, lambda _: str(folder), device, data_root, console, "")


def _fit(
    plan: Recipe,
    choose_folder: Callable[[int], str],
    device: str,
    data_root: str | Path | None,
    console: Console,
    command: str,
) -> Result:
    from alexnet.data.sources import open_dataset
    from alexnet.reporting.run_pictures import draw
    from alexnet.run.classifier import load as load_classifier
    from alexnet.run.device import choose, prepare_process
    from alexnet.run.ranks import joined
    from alexnet.training.loop import fit

    prepare_process()
    root = Path(data_root) if data_root is not None else None
    with joined(choose(device, plan.train.precision)) as (ranks, chosen):
        attempt = ranks.place.attempt
        folder = Path(ranks.decide("folder", lambda: choose_folder(attempt)))
        result = fit(
            plan, folder, device=chosen, root=root, console=console, command=command, ranks=ranks
        )
    if not ranks.main:
        return result
    dataset = open_dataset(
        plan.data.name, root=root, size=plan.data.size, say=console.say, quiet=console.quiet
    )
    model = load_classifier(folder, say=console.say)
    for path in draw(result, model, dataset, chosen, console.say):
        console.say(f"wrote {path}")
    return result


def load(name: str | Path, *, say: Callable[[str], None] = print) -> Classifier:
    """Load a run's folder, one checkpoint of it, or a network by name with fresh weights.

    Also a file of weights of another program (``exchange.foreign``): torchvision's ``alexnet``.

    Returns the network with its class names and preprocessing. Raises ``UnknownName``,
    ``CheckpointError`` or ``DataError``; ``say`` is told of a damaged checkpoint that another one
    replaces.
    """
    if Path(name).is_file():
        from alexnet.exchange import foreign

        return foreign.load(Path(name))
    from alexnet.run import classifier

    return classifier.load(name, say=say)


def predict(
    model: Model | Sequence[Model],
    picture: str | os.PathLike[str] | bytes | NDArray[Any],
    *,
    top: int = 5,
    views: str | None = None,
) -> list[Ranked]:
    """Return the ``top`` most probable classes of a picture, most probable first.

    ``model``: one, or several of the same classes, whose probabilities are averaged. ``picture`` is a path, the bytes of a picture file, or a uint8 array ``(H, W)``, ``(H, W, 3)``
    or ``(H, W, 4)``. Raises ``BadPicture`` for one that cannot be read.
    """
    from alexnet import prediction

    return prediction.predict(_loaded(model), picture, top=top, views=views)


def _loaded(model: Model | Sequence[Model]) -> list[Classifier]:
    """Load one model or several; what is loaded already stays as it is."""
    from alexnet.run.classifier import Classifier

    each = [model] if isinstance(model, Classifier | str | Path) else model
    return [m if isinstance(m, Classifier) else load(m) for m in each]


def evaluate(
    model: Model | Sequence[Model],
    data: str | None = None,
    *,
    views: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    top: tuple[int, ...] | None = None,
    batch: int = 500,
    data_root: str | Path | None = None,
) -> Scores:
    """Score a model on part of a data set, named like ``cifar10/test`` or ``cifar10/train[:10%]``.

    ``model``: one, or several whose probabilities are averaged, each with its own input; of the
    same classes and the same stored pictures. ``data``: None is the test part of what the models
    were trained on; photographs are named by their path, ``photos/cats`` or ``photos/cats/test``.

    ``views``: ``centre``; ``flip``, the mean of a picture and its mirror image; ``shift``; ``ten``
    (``run.views``); None: as each model was scored when it was trained. ``top``: which k to count
    right answers among; None: 1 and 3, or 1 and 2 of two classes.

    Raises ``UnknownName`` or ``UsageError`` for a data set or split that is not there, or whose
    classes are not the model's, and for models that do not go together.
    """
    from alexnet import evaluation
    from alexnet.data.loader import source_of
    from alexnet.data.sources import named_split, open_dataset
    from alexnet.run.classifier import refuse_other_classes, stored_data
    from alexnet.run.device import choose, prepare_process

    prepare_process()
    models, chosen = _loaded(model), choose(device, precision)
    trained_on, side = stored_data(models)
    top = evaluation.tops(top, len(models[0].classes))
    name, split = named_split(trained_on if data is None else data)
    root = Path(data_root) if data_root is not None else None
    dataset = open_dataset(name, root=root, size=side)
    refuse_other_classes(models, dataset.classes, name)
    source = source_of(dataset, split)
    return evaluation.evaluate_together(models, source, chosen, views=views, batch=batch, top=top)


def embed(
    model: Model,
    data: str | None = None,
    *,
    layer: str = "fc7",
    pool: str = "flatten",
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    batch: int = 100,
    data_root: str | Path | None = None,
) -> Embedding:
    """Return a layer's outputs for part of a data set: float32 vectors ``(N, D)``, labels, indices.

    ``data``: as for ``evaluate``. ``layer``: any row of the network's table. ``pool``: ``flatten``
    keeps every value of a map, ``mean`` one for each map. ``count``: so many pictures, drawn by
    ``seed``; None: all. ``exploration.projection`` and ``exploration.embedding.neighbours`` go on
    from here. Raises as ``exploration.embedding.embed`` does.
    """
    from alexnet.exploration import embedding
    from alexnet.exploration.part import open_part
    from alexnet.run.device import choose, prepare_process

    prepare_process()
    (loaded,), chosen = _loaded(model), choose(device, precision)
    part = open_part(data, loaded, data_root)
    few = replace(part, source=embedding.some(part.source, count, seed))
    return embedding.embed(loaded, few, chosen, layer=layer, pool=pool, batch=batch)


def sample(
    model: Model | None,
    data: str | None = None,
    *,
    index: int | None = None,
    count: int = 1,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    data_root: str | Path | None = None,
) -> list[Sample]:
    """Return pictures of a data set with their classes and, with a model, what it takes them for.

    ``data``: as for ``evaluate``; needed without a model. ``index``: the picture of that number in
    the split, and ``count`` - 1 after it; None: ``count`` pictures drawn by ``seed``, or by the
    clock. Raises ``UsageError`` for numbers that the split does not have.
    """
    from alexnet.exploration.part import open_part
    from alexnet.reporting import samples
    from alexnet.run.device import choose, prepare_process

    prepare_process()
    loaded = None if model is None else _loaded(model)[0]
    part = open_part(data, loaded, data_root)
    few = samples.pick(part, count, seed, index)
    return samples.samples(few, loaded, choose(device, precision))
