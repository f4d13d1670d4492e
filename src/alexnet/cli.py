"""The command line: parse, call one verb, print. No logic and no hyper-parameter lives here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from alexnet import __version__, benching, looking, recording, studying
from alexnet.calling import Argument, BadParameter, Exit, Option, Program
from alexnet.options import DeviceName, Json, Precision, Root, changes_of
from alexnet.terminal import run, say, typed, write

app = Program("alexnet", "AlexNet: reproduced, trained, measured and shipped.", version=__version__)


Set = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Change a recipe key, e.g. optim.lr=0.02."),
]
Views = Annotated[
    str | None,
    Option(
        help="centre; flip: and mirrored; shift: and moved by a pixel; ten: corners and centre, mirrored "
        "too; scales: at three sizes, mirrored too. [default: as it was scored]"
    ),
]
Others = Annotated[
    list[str] | None,
    Option("--with", metavar="MODEL", help="Another model, to average with; may be given again."),
]


app.command("list")(looking.list_)


@app.command()
def show(
    name: Annotated[
        str, Argument(help="A network, a recipe (or its .toml), a data set or a run's folder.")
    ],
    other: Annotated[
        str | None, Argument(help="A second network, to lay beside the first.")
    ] = None,
    size: Annotated[int | None, Option(help="Side of the picture, for a network.")] = None,
    sums: Annotated[bool, Option("--sums", help="Spell out the arithmetic of sizes.")] = False,
    drawing: Annotated[bool, Option("--drawing", help="Draw a network in text.")] = False,
    picture: Annotated[
        Path | None, Option(metavar="FILE.png", help="Draw the network into this picture.")
    ] = None,
    expect: Annotated[
        Path | None, Option(help="Compare with a Keras summary pasted into this file.")
    ] = None,
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Show a network's table (or two side by side), a recipe, a data set, or a run."""
    from alexnet.reporting import cards

    if other and (drawing or picture or sums or expect or size is not None):
        raise BadParameter(
            "--drawing, --picture, --size, --sums and --expect are of one network, not of two"
        )
    if expect is not None:
        looking.compare_summary(expect, name, size, as_json)
        return
    one = partial(cards.show, size=size, sums=sums, drawing=drawing, root=data)
    found = cards.beside(name, other) if other else one(name)
    if picture is not None:
        from alexnet.reporting.network_picture import plot_named

        say(f"wrote {plot_named(name, picture, size)}")
    write(found.values if as_json else found.text)


@app.command()
def data(
    name: Annotated[
        str,
        Argument(help="One of `alexnet list datasets`, or photographs: a folder, a list or a tar."),
    ],
    source: Annotated[
        str | None, Option(help="A folder or archive you have, or the name of a source.")
    ] = None,
    size: Annotated[int | None, Option(help="Side of the pictures, where it is free.")] = None,
    fit: Annotated[
        str, Option(help="Of photographs: crop (their centre) or stretch (all of each).")
    ] = "crop",
    verify: Annotated[bool, Option("--verify", help="Check every byte of the cache.")] = False,
    strict: Annotated[
        bool, Option("--strict", help="Refuse unreadable pictures and any in two parts.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Fetch a data set or take in photographs, check every bit, and show what there is."""
    from alexnet.data.card import card, render
    from alexnet.data.sources import open_dataset

    opened = open_dataset(
        name, root=root, source=source, size=size, fit=fit, verify=verify, strict=strict
    )
    found = card(opened)
    write(found if as_json else render(found))


@app.command()
def train(
    recipe: Annotated[
        str,
        Argument(help="A recipe's name, a .toml file, or photographs: a folder, a list or a tar."),
    ] = "cifar10-quick",
    out: Annotated[Path | None, Option(help="The run's folder. [default: runs/RECIPE]")] = None,
    changes: Set = None,
    seed: Annotated[int | None, Option(metavar="N", help="Short for --set train.seed=N.")] = None,
    device: DeviceName = "auto",
    data: Root = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe, or on photographs, test it, and draw what happened."""
    import alexnet
    from alexnet.run.log import Console

    result = alexnet.train(
        recipe,
        out,
        override=changes_of(changes or [], seed),
        device=device,
        data_root=data,
        console=Console(quiet=quiet),
        command=typed(),
    )
    _print_result(result, as_json)


@app.command()
def resume(
    run: Annotated[Path, Argument(help="The folder of a run.")],
    device: DeviceName = "auto",
    data: Root = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run: on a CPU to the same bits, on a GPU but for the last ones."""
    import alexnet
    from alexnet.run.log import Console

    result = alexnet.resume(run, device=device, data_root=data, console=Console(quiet=quiet))
    _print_result(result, as_json)


@app.command("eval")
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
    predictions: Annotated[
        Path | None,
        Option(metavar="FILE.csv", help="Write what it says of each picture into this table."),
    ] = None,
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Score a model, or several as one: loss, top-1, top-3, per class, confusion matrix."""
    import alexnet
    from alexnet.reporting import scores

    models = [alexnet.load(name, say=say) for name in (model, *(others or []))]
    how: dict[str, Any] = {"views": views, "device": device, "precise_bn": precise_bn}
    how |= {"precision": precision, "predictions": predictions}
    found = alexnet.evaluate(models, split, top=tuple(top) if top else None, data_root=data, **how)
    classes = models[0].classes
    if predictions is not None:
        say(f"wrote {predictions}")
    if picture is not None:
        title = split or models[0].data
        say(f"wrote {scores.draw_confusion(found, classes, picture, title=title)}")
    anew = {"precise_bn": precise_bn} if precise_bn else {}
    told = f"\nbatch norm's statistics: anew, from {precise_bn}" if precise_bn else ""
    write(found.to_json() | anew if as_json else scores.text(found, classes) + told)


@app.command()
def predict(
    model: Annotated[
        str, Argument(help="A run's folder, a checkpoint, or weights: a file, or imagenet.")
    ],
    pictures: Annotated[list[str], Argument(metavar="PICTURE...", help="Picture files.")],
    top: Annotated[int, Option(help="How many classes to name.")] = 5,
    others: Others = None,
    views: Views = None,
    as_json: Json = False,
) -> None:
    """Name what is in a picture, with probabilities."""
    from dataclasses import asdict

    import alexnet
    from alexnet.prediction import predict_each
    from alexnet.reporting.scores import ranking

    models = [alexnet.load(name, say=say) for name in (model, *(others or []))]
    found, faults = predict_each(models, pictures, top=top, views=views)
    write({n: [asdict(r) for r in rs] for n, rs in found.items()} if as_json else ranking(found))
    for fault in faults:
        say(f"alexnet: {fault}")
    if faults:
        raise Exit(1)


@app.command()
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
    found = alexnet.export(alexnet.load(model, say=say), file, views=views)
    write(usage.values(found) if as_json else usage.text(found))


for command in (
    *(studying.study, looking.embed, looking.sample),
    *(looking.results, recording.record, recording.note),
    *(looking.report, looking.env),
):
    app.command()(command)
app.add(benching.bench)


def main() -> None:
    """Run the command line."""
    run(app)


def _print_result(result: Any, as_json: bool) -> None:
    from alexnet.reporting.cards import result_text
    from alexnet.run.launch import place

    if place().rank == 0:  # of several processes, one speaks
        write(result.record if as_json else result_text(result.folder, result.record))
