"""The commands that look at things: a model's layers, single pictures, the machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from alexnet.calling import Argument, Exit, Option
from alexnet.options import DeviceName, Json, Precision, Root
from alexnet.terminal import say, typed, write

Part = Annotated[
    str | None,
    Argument(
        metavar="[DATASET/SPLIT]",
        help="E.g. cifar10/test or shapes/train[:10%]. [default: what it was tested on]",
    ),
]


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    datasets = "datasets"
    recipes = "recipes"
    weights = "weights"


def list_(kind: Annotated[Kind, Argument(help="What to list.")], as_json: Json = False) -> None:
    """List the networks, data sets, recipes or pretrained weights, a line each."""
    from alexnet.reporting.listing import listing
    from alexnet.reporting.text import summary_table

    rows = listing(kind.value)
    write(rows if as_json else summary_table(rows))


def embed(
    model: Annotated[str, Argument(help="A run's folder, a checkpoint, a network or weights.")],
    part: Part = None,
    layer: Annotated[
        str | None,
        Option(
            help="A row of the network's table. [default: fc7, or what the last dense row takes]"
        ),
    ] = None,
    components: Annotated[int, Option(help="Principal components, 2 or more.")] = 3,
    out: Annotated[Path, Option(metavar="DIR", help="Folder for what is drawn.")] = Path(
        "embedding"
    ),
    pool: Annotated[
        str, Option(help="What becomes of maps: flatten, or mean of each.")
    ] = "flatten",
    count: Annotated[int | None, Option(help="So many pictures, drawn by --seed.")] = None,
    seed: Annotated[int, Option(help="What --count draws by.")] = 0,
    near: Annotated[
        int | None, Option(metavar="N", help="Also the ten pictures nearest to number N.")
    ] = None,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    data: Root = None,
    as_json: Json = False,
) -> None:
    """See a layer in two and three dimensions: scatter plots, shares of variance, separation."""
    import alexnet
    from alexnet.reporting import embedding

    embedding.refuse_impossible(components, out)
    loaded = alexnet.load(model, say=say)
    space = alexnet.embed(
        loaded,
        part,
        layer=layer,
        pool=pool,
        count=count,
        seed=seed,
        device=device,
        precision=precision,
        data_root=data,
    )
    close = embedding.near(space, near) if near is not None else None
    seen = embedding.view(space, components, Path(model).name)
    for path in embedding.write(seen, out):
        say(f"wrote {path}")
    if as_json:
        write({**seen.to_json(), "near": close and close.to_json()})
    else:
        write("\n\n".join([embedding.text(seen), *([close.text] if close else [])]))


def sample(
    what: Annotated[
        str,
        Argument(
            metavar="MODEL|DATASET/SPLIT",
            help="A model (a run's folder, a network or weights), or a data set without one.",
        ),
    ],
    part: Part = None,
    index: Annotated[
        int | None, Option(metavar="N", help="This picture of the split, from 0.")
    ] = None,
    count: Annotated[int, Option(metavar="K", help="So many pictures.")] = 1,
    seed: Annotated[
        int | None, Option(metavar="S", help="What chance goes by. [default: the clock]")
    ] = None,
    picture: Annotated[Path | None, Option(help="Draw them into this .png.")] = None,
    values: Annotated[bool, Option("--values", help="Print the pixels too.")] = False,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    data: Root = None,
    as_json: Json = False,
) -> None:
    """Show pictures of a data set, by chance or by number, and what a model takes them for."""
    import alexnet
    from alexnet.reporting import samples

    model, name = samples.split_names(what, part)
    loaded = alexnet.load(model, say=say) if model else None
    where: dict[str, Any] = {"device": device, "precision": precision, "data_root": data}
    found = alexnet.sample(loaded, name, index=index, count=count, seed=seed, **where)
    if picture is not None:
        say(f"wrote {samples.draw(found, picture)}")
    write([s.to_json() for s in found] if as_json else samples.text(found, values=values))


def env(
    device: DeviceName = "auto",
    markdown: Annotated[bool, Option("--markdown", help="Print Markdown tables.")] = False,
    as_json: Json = False,
) -> None:
    """Describe this machine: accelerators, processor, memory, versions of all that is used."""
    from alexnet.reporting import environment
    from alexnet.run.device import choose
    from alexnet.run.machine import machine

    found = machine(choose(device))
    write(
        found if as_json else environment.markdown(found) if markdown else environment.text(found)
    )


def report(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="Folders of finished runs.")],
    out: Annotated[
        Path | None,
        Option(
            metavar="FILE.html",
            help="The report. [default: report.html in the run, of several here]",
        ),
    ] = None,
    title: Annotated[str, Option(help="On the cover. [default: the recipes]")] = "",
    author: Annotated[str, Option(help="On the cover.")] = "",
    number: Annotated[str, Option(help="A student's, on the cover.")] = "",
    affiliation: Annotated[str, Option(help="A course, a department, an institution.")] = "",
    date: Annotated[str, Option(help="On the cover. [default: the run's]")] = "",
    language: Annotated[str, Option(help="en or ko.")] = "en",
    pictures: Annotated[
        int, Option(metavar="N", help="Show the features of N test pictures; 0: none.")
    ] = 1000,
    device: DeviceName = "auto",
    data: Root = None,
) -> None:
    """Write a printable report of one run, or of several beside each other, as one HTML file."""
    import alexnet

    cover = {"title": title, "author": author, "number": number, "affiliation": affiliation}
    path = alexnet.report(
        runs,
        out,
        **cover,
        date=date,
        language=language,
        pictures=pictures,
        device=device,
        data_root=data,
        command=typed(),
    )
    say(f"wrote {path}")


def results(
    folder: Annotated[Path, Argument(help="A folder of recorded result.json files.")] = Path(
        "results"
    ),
    markdown: Annotated[bool, Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Collect recorded runs into one table, and say what they make of each published claim."""
    from alexnet.reporting.results_page import page

    found = page(folder)
    write(found.to_json() if as_json else found.markdown if markdown else found.text)


def compare_summary(path: Path, name: str, size: int | None, as_json: bool) -> None:
    """Compare a pasted Keras summary with a network; exit status 1 where they differ."""
    from alexnet.models import zoo
    from alexnet.reporting.expect import check

    found = check(path, zoo.network(name), size)
    write(found.to_json() if as_json else str(found))
    if found.differences:
        raise Exit(1)
