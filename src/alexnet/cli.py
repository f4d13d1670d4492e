"""The command line: parse, call one verb, print. No logic and no hyper-parameter lives here."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet import __version__, looking, studying
from alexnet.options import DeviceName, Json, Root
from alexnet.terminal import run, say, typed, write

app = typer.Typer(
    name="alexnet",
    help="AlexNet: reproduced, trained, measured and shipped.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Suite(StrEnum):
    """What can be measured."""

    step = "step"


Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key, e.g. optim.lr=0.02."),
]
Views = Annotated[
    str | None,
    typer.Option(
        help="centre; flip: and mirrored; shift: and moved by a pixel; ten: corners and centre, "
        "mirrored too. [default: as it was scored]"
    ),
]
Others = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="MODEL", help="Another model, to average with; may be given again."
    ),
]


app.command("list")(looking.list_)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A network, a recipe, a data set or a run's folder.")],
    other: Annotated[
        str | None, typer.Argument(help="A second network, to lay beside the first.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the picture, for a network.")] = None,
    sums: Annotated[
        bool, typer.Option("--sums", help="Spell out the arithmetic of sizes.")
    ] = False,
    drawing: Annotated[bool, typer.Option("--drawing", help="Draw a network in text.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the network into this picture.")
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(help="Compare with a Keras summary pasted into this file.")
    ] = None,
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Show a network's table (or two side by side), a recipe, a data set, or a run."""
    from alexnet.reporting import cards

    if expect is not None:
        looking.compare_summary(expect, name, size, as_json)
        return
    if other and (drawing or picture):
        raise typer.BadParameter("--drawing and --picture are of one network, not of two")
    one = partial(cards.show, size=size, sums=sums, drawing=drawing, root=data)
    found = cards.beside(name, other) if other else one(name)
    if picture is not None:
        from alexnet.reporting.network_picture import plot_named

        say(f"wrote {plot_named(name, picture, size)}")
    write(found.values if as_json else found.text)


@app.command()
def data(
    name: Annotated[
        str, typer.Argument(help="One of `alexnet list datasets`, or a folder of photographs.")
    ],
    source: Annotated[
        str | None, typer.Option(help="A folder or archive you have, or the name of a source.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the pictures, where it is free.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte of the cache.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse unreadable pictures and any in two parts.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Fetch a data set or take in photographs, check every bit, and show what there is."""
    from alexnet.data.card import card, render
    from alexnet.data.sources import open_dataset

    opened = open_dataset(name, root=root, source=source, size=size, verify=verify, strict=strict)
    found = card(opened)
    write(found if as_json else render(found))


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name, a .toml file, or a folder of photographs.")
    ] = "cifar10-quick",
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. [default: runs/RECIPE]")
    ] = None,
    changes: Set = None,
    device: DeviceName = "auto",
    data: Root = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe, or on a folder of photographs, test it, and draw what happened."""
    import alexnet
    from alexnet.recipe import parse_assignment
    from alexnet.run.log import Console

    result = alexnet.train(
        recipe,
        out,
        override=dict(parse_assignment(text) for text in changes or []),
        device=device,
        data_root=data,
        console=Console(quiet=quiet),
        command=typed(),
    )
    _print_result(result, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    device: DeviceName = "auto",
    data: Root = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run, to the same bits."""
    import alexnet
    from alexnet.run.log import Console

    result = alexnet.resume(run, device=device, data_root=data, console=Console(quiet=quiet))
    _print_result(result, as_json)


@app.command("eval")
def eval_(
    model: Annotated[str, typer.Argument(help="A run's folder or a checkpoint.")],
    split: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET/SPLIT]",
            help="E.g. cifar10/test or shapes/train[:10%]. [default: the test part of its data set]",
        ),
    ] = None,
    others: Others = None,
    views: Views = None,
    device: DeviceName = "auto",
    top: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Top-K, may be given again. [default: 1 and 3]"),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the confusion matrix into this .png.")
    ] = None,
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Score a model, or several as one: loss, top-1, top-3, per class, confusion matrix."""
    import alexnet
    from alexnet.reporting import scores

    models = [alexnet.load(name, say=say) for name in (model, *(others or []))]
    found = alexnet.evaluate(
        models, split, views=views, device=device, data_root=data, top=tuple(top) if top else None
    )
    classes = models[0].classes
    if picture is not None:
        title = split or models[0].data
        say(f"wrote {scores.draw_confusion(found, classes, picture, title=title)}")
    write(found.to_json() if as_json else scores.text(found, classes))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A run's folder or a checkpoint.")],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Picture files.")],
    top: Annotated[int, typer.Option(help="How many classes to name.")] = 5,
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
        raise typer.Exit(1)


@app.command()
def bench(
    suite: Annotated[Suite, typer.Argument(help="What to measure.")] = Suite.step,
    network: Annotated[str, typer.Option(help="A network.")] = "keras-lab",
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 128,
    size: Annotated[int | None, typer.Option(help="Side of the pictures.")] = None,
    rounds: Annotated[int, typer.Option(help="Steps to time.")] = 7,
    precision: Annotated[str, typer.Option(help="auto, bf16 or float32.")] = "auto",
    optimizer: Annotated[
        str, typer.Option(help="sgd, adam, keras-sgd, keras-adam, muon, 2012.")
    ] = "sgd",
    device: DeviceName = "auto",
    as_json: Json = False,
) -> None:
    """Time a training step and set it beside the matrix rate of the same minute."""
    from alexnet.benchmark.step import step_speed, step_text
    from alexnet.run.device import choose, prepare_process

    prepare_process()
    chosen = choose(device, precision)
    assert suite is Suite.step
    found = step_speed(network, chosen, batch=batch, size=size, rounds=rounds, optimizer=optimizer)
    write(found.to_json() if as_json else step_text(found))


for command in (
    *(studying.study, looking.embed, looking.sample),
    *(looking.results, looking.report, looking.env),
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _bare(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        print(__version__ if version else context.get_help())
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    run(app)


def _print_result(result: Any, as_json: bool) -> None:
    from alexnet.reporting.cards import result_text
    from alexnet.run.launch import place

    if place().rank == 0:  # of several processes, one speaks
        write(result.record if as_json else result_text(result.folder, result.record))
