"""A trained network with all it needs to be used: weights, class names, preprocessing.

Preprocessing and class names come from the checkpoint, never from flags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.data.preprocess import Preprocessing
from alexnet.data.splits import is_whole
from alexnet.errors import CheckpointError, UnknownName, UsageError
from alexnet.models import transfer, zoo
from alexnet.models.build import AlexNet, build, unfilled
from alexnet.models.table import Network
from alexnet.run import checkpoint


@dataclass(frozen=True)
class Split:
    """Which pictures of a data set are meant: the arguments of ``data.splits.select``."""

    expression: str = "test"
    method: str = "slice"
    seed: int = 0


@dataclass(frozen=True)
class Provenance:
    """What a run's weights came of; empty where that is not known: older checkpoints do not say.

    ``fingerprint``: of the data set; ``train``: the expression of the split that was trained on;
    ``precision``: in which they were trained and scored, one of ``device.PRECISIONS`` but ``auto``.
    """

    fingerprint: str = ""
    train: str = ""
    precision: str = ""


@dataclass(frozen=True)
class Classifier:
    """A network on the CPU, in evaluation mode, with all that its recipe says about its use.

    ``views``: how it was scored, one of ``views.VIEWS``; ``test``: on what. ``trained``: False for fresh
    weights, whose class names and ``picture_size`` only stand in for those of a data set. ``described``:
    what ``restore`` makes it of again, beside the weights (``card``).
    """

    module: AlexNet
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    views: str
    data: str  # the data set it was trained on; empty for fresh weights and another program's
    origin: str
    test: Split = Split()
    trained: bool = True
    provenance: Provenance = Provenance()
    described: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def describe(self) -> str:
        """Name it for a person."""
        size = self.preprocessing.size
        return f"{self.module.network.name} at {size}x{size}, {len(self.classes)} classes, from {self.origin}"


def card(
    network: str,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    views: str,
    keep: str,
    data: str,
    *,
    head: Sequence[int] | None = None,
    head_norm: bool = False,
    pool: int = 0,
    kernel: tuple[float, int] | None = None,
    dropout: float | None = None,
    test: Split = Split(),
    provenance: Provenance = Provenance(),
) -> dict[str, Any]:
    """Return what a checkpoint's model.json holds, so that ``load`` needs nothing else.

    ``head``, ``head_norm``: the widths and ``norm`` of a head of its own (``transfer.with_head``);
    None for none. ``pool``: as ``transfer.with_pool`` has it, 0 for none; ``kernel``: gamma and pictures
    of a kernel machine (``transfer.with_kernel``). ``dropout``: the rate in place of the table's own, which a
    classic dropout multiplies by in a test too.
    """
    return {
        "network": network,
        "classes": list(classes),
        "preprocessing": preprocessing.to_json(),
        "views": views,
        "keep": keep,
        "data": data,
        "head": None if head is None else list(head),
        "head_norm": head_norm,
        "pool": pool,
        "kernel": None if kernel is None else list(kernel),
        "dropout": dropout,
        "test": asdict(test),
        "provenance": asdict(provenance),
    }


def load(name: str | Path, *, say: Callable[[str], None] = print) -> Classifier:
    """Load a run directory, one checkpoint of it, or a network by name with fresh weights.

    A run gives its last checkpoint, or its best where its recipe keeps that one: the weights that
    its recorded score is of. Raises ``UnknownName`` or ``CheckpointError``.
    """
    path = Path(name).expanduser()
    if path.is_dir() and not checkpoint.is_model(path):
        raise CheckpointError(
            f"{path} holds no model: expected the folder of a run or of a checkpoint; what pictures are "
            f"in a folder is said by `alexnet data {path}`"
        )
    if (path / checkpoint.MANIFEST).is_file() or (path / checkpoint.MODEL).is_file():
        return restore(checkpoint.load(path, to_use=True))
    if path.is_dir():
        return restore(checkpoint.scored(path, say, to_use=True))
    if str(name) not in zoo.NETWORKS:
        raise UnknownName(
            "model (a run directory, a checkpoint or a network)", str(name), zoo.NETWORKS
        )
    return fresh(str(name))


def restore(saved: checkpoint.Checkpoint) -> Classifier:
    """Build the network that a checkpoint describes around its weights, which are not copied."""
    try:
        described = saved.model
        classes = tuple(described["classes"])
        preprocessing = Preprocessing.from_json(described["preprocessing"], saved.input)
        module = unfilled(_network(described, len(classes)), preprocessing.size)
        use = str(described["views"]), str(described["data"])
        # Older checkpoints do not say either.
        test = Split(**described.get("test", {}))
        provenance = Provenance(**described.get("provenance", {}))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        said_in = saved.path / checkpoint.MODEL if saved.path.is_dir() else saved.path
        raise CheckpointError(f"{said_in} does not fit: {error}") from None
    checkpoint.load_weights(module, saved.weights, str(saved.path), assign=True)
    ready = _ready(module, classes, preprocessing, use, str(saved.path))
    trained = bool(described.get("trained", True))
    return replace(ready, test=test, trained=trained, provenance=provenance, described=described)


def _network(described: dict[str, Any], classes: int) -> Network:
    # Older checkpoints do not say any of these.
    head, dropout = described.get("head"), described.get("dropout")
    gamma, examples = described.get("kernel") or (0.0, 1)
    return transfer.adapted(
        zoo.network(described["network"], classes=classes),
        pool=int(described.get("pool") or 0),
        head=None if head is None else tuple(map(int, head)),
        head_norm=bool(described.get("head_norm", False)),
        kernel=float(gamma),
        dropout=None if dropout is None else float(dropout),
        examples=int(examples),
    )


def fresh(name: str, *, classes: int | None = None) -> Classifier:
    """Return an untrained network of the family, for a look at its shapes and its speed.

    ``classes``: None: as many as its table has.
    """
    module = build(zoo.network(name, classes=classes))
    preprocessing = Preprocessing(picture_size=module.size, size=module.size)
    names = tuple(map(str, range(module.network.classes)))
    made = _ready(module, names, preprocessing, ("centre", ""), "fresh weights")
    described = card(name, names, preprocessing, "centre", "last", "") | {"trained": False}
    return replace(made, trained=False, described=described)


def _ready(
    module: AlexNet,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    use: tuple[str, str],
    origin: str,
) -> Classifier:
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Classifier(module.eval(), classes, preprocessing, *use, origin)


def refuse_strangers(models: Sequence[Classifier]) -> None:
    """Check that the probabilities of models have a mean: at least one, all of the same classes.

    Raises ``UsageError`` naming the first that is of other classes.
    """
    if not models:
        raise UsageError("no model was given; name at least one")
    for other in models[1:]:
        refuse_other_classes([other], models[0].classes, f"the model from {models[0].origin}")


def refuse_other_classes(
    models: Sequence[Classifier], classes: tuple[str, ...], whose: str
) -> None:
    """Raise ``UsageError`` for a model that knows other classes than ``whose``."""
    for model in models:
        if model.classes != classes:
            from alexnet.data.photos.listing import some  # what a right call does without

            raise UsageError(
                f"{whose} has the classes {some(classes)}, but the model from {model.origin} "
                f"knows {some(model.classes)}"
            )


def tested_on(models: Sequence[Classifier]) -> Split:
    """Return what models were tested on. Raises ``UsageError`` where they differ."""
    found = {m.test: m.origin for m in models if m.data or m.provenance.fingerprint}
    if len(found) > 1:
        (one, of_one), (other, of_other), *_ = found.items()
        raise UsageError(
            f"the model from {of_one} was tested on {one.expression} ({one.method}, seed {one.seed}), the "
            f"one from {of_other} on {other.expression} ({other.method}, seed {other.seed}); name a split"
        )
    return next(iter(found), Split())


def cut_as(models: Sequence[Classifier], expression: str) -> Split:
    """Return an expression as a split of models' own data set: by their method and seed; of no models, plainly.

    Raises ``UsageError`` where models cut theirs differently, and so mean other pictures.
    """
    if is_whole(expression):
        return Split(expression)
    found = {replace(_method(m), expression=expression): m.origin for m in models}
    if len(found) > 1:
        (one, of_one), (other, of_other), *_ = found.items()
        raise UsageError(
            f"{expression} means other pictures to the model from {of_one} ({one.method}, seed {one.seed}) "
            f"than to the one from {of_other} ({other.method}, seed {other.seed}); name a whole part, or "
            "other data"
        )
    return next(iter(found), Split(expression))


def _method(model: Classifier) -> Split:
    """Return how a model's data was cut; a plain cut has no seed."""
    return Split() if model.test.method == Split.method else model.test


def stored_data(models: Sequence[Classifier]) -> tuple[str, int | None, str]:
    """Return the data set that models were trained on, the side of its stored pictures and their fit.

    Fresh weights, like no models, say neither: the side is None, the data set's own. Raises ``UsageError``
    where models differ.
    """
    data = next((m.data for m in models if m.data), "")
    trained = [m for m in models if m.trained]
    if not trained:
        return data, None, "crop"
    first = next((m for m in trained if m.data), trained[0])
    side, fit = first.preprocessing.picture_size, first.preprocessing.square_fit
    for other in trained:
        its = other.preprocessing.picture_size
        if its != side or other.data not in ("", first.data):
            raise UsageError(
                f"the model from {first.origin} is of {first.data or 'no data'} stored at "
                f"{side}x{side}, but the one from {other.origin} of {other.data or 'no data'} at "
                f"{its}x{its}; models are scored together on the same stored pictures"
            )
        if other.preprocessing.square_fit != fit:
            raise UsageError(
                f"the model from {first.origin} was trained with data.fit = {fit!r}, the one from "
                f"{other.origin} with {other.preprocessing.square_fit!r}; models are scored "
                "together on the same stored pictures"
            )
    return data, side, fit
