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
    from alexnet.data.pictures import Given
    from alexnet.evaluation import Scores
    from alexnet.exchange.export import Exported
    from alexnet.exploration.embedding import Embedding
    from alexnet.prediction import Ranked
    from alexnet.recipe import Recipe
    from alexnet.reporting.samples import Sample
    from alexnet.run.classifier import Classifier
    from alexnet.run.device import Device
    from alexnet.run.log import Console
    from alexnet.training.record import Result

    Model = Classifier | str | Path

__all__ = [
    "AlexNetError",
    "__version__",
    "embed",
    "evaluate",
    "export",
    "keep_arrays",
    "load",
    "predict",
    "report",
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

    A path of photographs (a folder, a tar, a list) is trained on by the recipe ``photos``. ``out`` is the run's folder
    (default: a new one under ``runs/``); one that holds a run already is refused. ``override`` replaces recipe keys,
    e.g. ``{"optim.lr": 0.02}``.

    Returns the finished run. Raises ``UsageError`` before anything is written where the call is wrong,
    ``TrainingError`` or ``CheckpointError`` where the run cannot go on.
    """
    from alexnet.reporting.running import planned, train_and_draw
    from alexnet.run.log import Console

    plan = planned(recipe, override or {}, console := console or Console())
    return train_and_draw(plan, out, device, data_root, console, command)


def resume(
    run: str | Path,
    *,
    device: str = "auto",
    data_root: str | Path | None = None,
    console: Console | None = None,
) -> Result:
    """Go on with an interrupted run from its newest whole checkpoint; a finished one has missing pictures drawn.

    On a CPU with the same number of threads the result has the same bits as that of a run that was never interrupted; on
    a GPU, where kernels are chosen by timing, the last bits may differ. Raises ``CheckpointError`` for a folder that holds no run.
    """
    from alexnet.reporting.running import draw_missing, run_and_draw
    from alexnet.run.log import RESULT, Console
    from alexnet.training import record

    folder, console = Path(run).expanduser(), console or Console()
    plan = record.read_recipe(folder)
    if (folder / RESULT).is_file():
        console.say(f"{folder} is finished already")
        return draw_missing(record.read_result(folder), device, data_root, console)
    return run_and_draw(plan, lambda _: str(folder), device, data_root, console, "")


def keep_arrays(
    folder: str | Path,
    *,
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    validation: tuple[Any, Any] | None = None,
    classes: Sequence[str],
) -> str:
    """Keep arrays of one's own as a data set, and return its name, a path, for ``data.name``.

    Each part is (pictures, labels): uint8 ``(N, S, S, 3)``, RGB, and integers ``(N,)`` or ``(N, 1)`` into ``classes``.
    Recipes, ``evaluate`` and all other verbs take the path as any data set's name; their split is made as any other's
    (``data.arrays``). A folder that holds these very arrays is left as it is. Raises ``UsageError`` for arrays of
    another kind and for a folder that holds anything else, ``DataError`` where it cannot be written.
    """
    from alexnet.data import arrays

    parts = {"train": train, "validation": validation, "test": test}
    return arrays.keep(Path(folder), {k: v for k, v in parts.items() if v}, classes)


def load(name: str | Path, *, say: Callable[[str], None] = print) -> Classifier:
    """Load a run's folder, one checkpoint of it, or a network by name: fresh weights, N classes as its table has.

    Also weights of another program (``exchange.foreign``): a file of torchvision's ``alexnet``, or ``imagenet``. Returns
    the network with its class names and preprocessing. Raises ``UnknownName``, ``CheckpointError`` or ``DataError``;
    ``say`` is told of a damaged checkpoint that another one replaces.
    """
    from alexnet.exchange.torchvision import WEIGHTS

    if name in WEIGHTS or Path(name).expanduser().is_file():
        from alexnet.exchange import foreign

        return foreign.load(name, say=say)
    from alexnet.run import classifier

    return classifier.load(name, say=say)


def predict(
    model: Model | Sequence[Model],
    picture: Given,
    *,
    top: int = 5,
    views: str | None = None,
) -> list[Ranked]:
    """Return the ``top`` most probable classes of a picture, most probable first.

    ``model``: one, or several of the same classes, whose probabilities are averaged. ``picture``: a path, the bytes
    of a picture file, a picture of Pillow's or a uint8 array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``. Raises ``BadPicture``.
    """
    from alexnet import prediction

    return prediction.predict(_loaded(model), picture, top=top, views=views)


def _loaded(model: Model | Sequence[Model]) -> list[Classifier]:
    """Load one model or several; what is loaded already stays as it is."""
    from alexnet.run.classifier import Classifier

    each = [model] if isinstance(model, Classifier | str | Path) else model
    return [m if isinstance(m, Classifier) else load(m) for m in each]


def _chosen(device: str, precision: str = "auto", models: Sequence[Classifier] = ()) -> Device:
    """Make the process ready and choose where it computes, by itself in the precision of its models."""
    from alexnet.run.device import choose, prepare_process

    prepare_process()
    return choose(device, precision, [m.provenance.precision for m in models])


def evaluate(
    model: Model | Sequence[Model],
    data: str | None = None,
    *,
    views: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    top: tuple[int, ...] | None = None,
    batch: int = 500,
    precise_bn: str | None = None,
    predictions: str | Path | None = None,
    data_root: str | Path | None = None,
) -> Scores:
    """Score a model on part of a data set, named like ``cifar10/test`` or ``cifar10/train[:10%]``.

    ``model``: one, or several whose probabilities are averaged, each with its own input; of the same classes and the
    same stored pictures. ``data``: None is what their runs tested them on; photographs are named by their path,
    ``photos/cats`` or ``photos/cats/test``. Of the data set that a model was trained on, an expression is cut as its
    run cut its own, of any other plainly (``run.named``). ``views``: one of ``run.views``; None: as each was scored
    when it was trained. ``precision``: ``auto`` is the one that it was trained in, where the device has it, and float32 where
    that is not recorded. ``top``: which k to count right answers among; None: 1 and 3, or 1 and 2 of two classes. ``precise_bn``: pictures, named
    like ``data``, that batch norms take their statistics from first (``run.precise_bn``). ``predictions``: a .csv
    that each picture's answer is written into (``reporting.answers``).

    Raises ``UsageError`` or ``UnknownName`` for a data set or split that is not there, or has classes that the
    model does not know, and for models that do not go together; ``DataError`` for a cut of the trained part of data that changed.
    """
    from alexnet.reporting.scoring import score

    models = _loaded(model)
    how: dict[str, Any] = {"views": views, "top": top, "batch": batch, "precise_bn": precise_bn}
    how |= {"predictions": predictions, "root": data_root}
    return score(models, data, _chosen(device, precision, models), **how)


def export(model: Model, path: str | Path, *, views: str | None = None) -> Exported:
    """Write a model as one file for programs without this package; its ending says which kind.

    ``.onnx`` (needs the extra ``onnx``) and ``.pt2`` take stored pictures and give probabilities, by
    ``views`` (None: as the model was scored); ``.safetensors`` holds weights. See, and raises as, ``exchange.export``.
    """
    from alexnet.exchange import export as exporting

    (loaded,) = _loaded(model)
    return exporting.export(loaded, Path(path).expanduser(), views=views)


def embed(
    model: Model,
    data: str | None = None,
    *,
    layer: str | None = None,
    pool: str = "flatten",
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    batch: int = 100,
    data_root: str | Path | None = None,
) -> Embedding:
    """Return a layer's outputs for part of a data set: float32 vectors ``(N, D)``, labels, indices.

    ``data``, ``precision``: as for ``evaluate``. ``layer``: any row of the network's table; None: fc7, or what the last
    dense row takes. ``pool``: ``flatten`` keeps every value of a map, ``mean`` one for each map. ``count``: so many,
    drawn by ``seed``; None: all. ``exploration`` goes on from here. Raises as ``exploration.embedding.embed`` does.
    """
    from alexnet.exploration import embedding
    from alexnet.run.named import pictures

    (loaded,) = models = _loaded(model)
    chosen, (part,) = _chosen(device, precision, models), pictures(models, [data], data_root)
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

    ``data``, ``precision``: as for ``evaluate``; data is needed without a model. ``index``: the picture of that number
    in the split, and ``count`` - 1 after it; None: ``count`` pictures drawn by ``seed``, or by the clock. Raises
    ``UsageError`` for numbers that the split does not have.
    """
    from alexnet.reporting import samples
    from alexnet.run.named import pictures

    models = [] if model is None else _loaded(model)
    chosen, (part,) = _chosen(device, precision, models), pictures(models, [data], data_root)
    few = samples.pick(part, count, seed, index)
    return samples.samples(few, models[0] if models else None, chosen)


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    language: str = "en",
    pictures: int = 1000,
    device: str = "auto",
    data_root: str | Path | None = None,
    command: str = "",
    **cover: str,
) -> Path:
    """Write one printable HTML file about finished runs, all its pictures inside; return its path.

    ``out``: by default ``report.html``, of one run in its folder. ``language``: ``en`` or ``ko``.
    ``pictures``: so many test pictures have their features shown; 0: none. ``cover``: ``title``,
    ``author``, ``number``, ``affiliation``, ``date``. Raises as ``report.writing.write_report``.
    """
    from alexnet.reporting.report.writing import Cover, Wanted, write_report

    named = [runs] if isinstance(runs, str | Path) else runs
    each = [Path(run).expanduser() for run in named]
    path = Path(out or ("report.html" if len(each) != 1 else each[0] / "report.html")).expanduser()
    wanted = Wanted(language, pictures, command)
    return write_report(each, path, Cover(**cover), wanted, device, root=data_root)
