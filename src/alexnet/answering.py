"""The commands that ask a model: ``eval``, ``predict``, ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from alexnet.calling import Argument, Exit, Option
from alexnet.options import DeviceName, Json, Precision, Root
from alexnet.terminal import say, write

if TYPE_CHECKING:
    from alexnet.run.classifier import Classifier

Views = Annotated[
    str | None,
    Option(
        help="centre; flip: and mirrored; shift: and moved by a pixel; ten: corners and centre, mirrored "
        "too; scales: at three sizes, mirrored too. [default: as it was scored]"
    ),
]
Predictions = Annotated[
    Path | None,
    Option(metavar="FILE.csv", help="Write what it says of each picture into this table."),
]
Others = Annotated[
    list[str] | None,
    Option("--with", metavar="MODEL", help="Another model, to average with; may be given again."),
]


def eval_(
    model: Annotated[
        str, Argument(help="A run's folder, a checkpoint, or weights: a file, or imagenet.")
    ],
    split: Annotated[
        str | None,
        Argument(
            metavar="[DATASET/SPLIT]",
            help="E.g. cifar10/test or shapes/train[:10%]. [default: what it was tested on]",
        ),
    ] = None,
    others: Others = None,
    views: Views = None,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    top: Annotated[
        list[int] | None,
        Option(metavar="K", help="Top-K, may be given again. [default: 1 and 3]"),
    ] = None,
    precise_bn: Annotated[
        str | None,
        Option(metavar="DATASET/SPLIT", help="Take batch norm's statistics anew from these first."),
    ] = None,
    picture: Annotated[
        Path | None, Option(help="Draw the confusion matrix into this .png.")
    ] = None,
    predictions: Predictions = None,
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Score a model, or several as one: loss, top-1, top-3, per class, confusion matrix."""
    import alexnet
    from alexnet.reporting import scores

    models = [_loaded(name) for name in (model, *(others or []))]
    how: dict[str, Any] = {"views": views, "device": device, "precise_bn": precise_bn}
    how |= {"precision": precision, "predictions": predictions}
    found = alexnet.evaluate(models, split, top=tuple(top) if top else None, data_root=data, **how)
    classes = models[0].classes
    if predictions is not None:
        say(f"wrote {predictions}")
    if picture is not None:
        title = split or models[0].data
        say(f"wrote {scores.draw_confusion(found, classes, picture, title=title)}")
    beside = {"precision": found.precision} | ({"precise_bn": precise_bn} if precise_bn else {})
    told = f"\nbatch norm's statistics: anew, from {precise_bn}" if precise_bn else ""
    write(found.to_json() | beside if as_json else scores.text(found, classes) + told)


def predict(
    model: Annotated[
        str, Argument(help="A run's folder, a checkpoint, or weights: a file, or imagenet.")
    ],
    pictures: Annotated[
        list[str], Argument(metavar="PICTURE...", help="Picture files, or folders of them.")
    ],
    top: Annotated[int, Option(help="How many classes to name.")] = 5,
    others: Others = None,
    views: Views = None,
    device: DeviceName = "cpu",
    predictions: Predictions = None,
    as_json: Json = False,
) -> None:
    """Name what is in pictures, with probabilities."""
    from dataclasses import asdict

    from alexnet.errors import BadPicture
    from alexnet.prediction import find_pictures, predict_each
    from alexnet.reporting import answers, scores
    from alexnet.run.device import choose, keep_to_quota

    keep_to_quota()
    table = answers.table_path(predictions) if predictions else None
    files = find_pictures(pictures)
    models = [_loaded(name) for name in (model, *(others or []))]
    how: dict[str, Any] = {"top": top, "views": views, "device": choose(device, "float32")}
    found = {}
    for name, said in zip(files, predict_each(models, files, **how), strict=True):
        if isinstance(said, BadPicture):
            say(f"alexnet: {said}")
            continue
        found[name] = said
        if not (table or as_json):
            write(scores.ranking(name, said))
    if table:
        say(f"wrote {answers.write_rankings(found, table)}")
    if as_json:
        write({name: [asdict(one) for one in ranked] for name, ranked in found.items()})
    if len(found) < len(files):
        raise Exit(1)


def _loaded(name: str) -> Classifier:
    """Load a model that is to answer; of fresh weights, say that they know nothing."""
    import alexnet

    model = alexnet.load(name, say=say)
    if not model.trained:
        say(f"{name}: fresh weights, never trained: what they say is chance")
    return model


def export(
    model: Annotated[
        str, Argument(help="A run's folder, a checkpoint, or weights: a file, or imagenet.")
    ],
    file: Annotated[
        Path, Argument(metavar="FILE", help="Its ending says the kind: .onnx, .pt2, .safetensors.")
    ],
    views: Views = None,
    as_json: Json = False,
) -> None:
    """Write a model as one file for programs without this package, and how to use it."""
    import alexnet
    from alexnet.exchange.export import writer_for
    from alexnet.reporting import usage

    writer_for(file)  # before a model is read
    found = alexnet.export(_loaded(model), file, views=views)
    write(usage.values(found) if as_json else usage.text(found))
