"""The command that runs a study: a recipe's rows and seeds, what is missing of them, and the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from alexnet.calling import Argument, Option
from alexnet.errors import TrainingError, UsageError
from alexnet.options import DeviceName, Json, Root, seeds_of
from alexnet.run.launch import place
from alexnet.terminal import typed, write

if TYPE_CHECKING:  # a study needs recipes, which the other commands can do without
    from alexnet.run.log import Console
    from alexnet.studies import plan
    from alexnet.studies.cells import Cell
    from alexnet.studies.running import Verbs


def study(
    name: Annotated[
        str | None,
        Argument(
            metavar="[STUDY]",
            help="A study's name, a .toml file, or a study.json, whose table is printed. "
            "[default: list the studies]",
        ),
    ] = None,
    seeds: Annotated[
        str | None, Option(metavar="0,1,2", help="Seeds: 0..4, or 0,3,7. [default: the study's]")
    ] = None,
    out: Annotated[
        Path | None, Option(help="The study's folder. [default: runs/studies/STUDY]")
    ] = None,
    only: Annotated[
        list[str] | None, Option(metavar="ROW", help="This row; may be given again.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="Change a recipe key in every row."),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what would be run, and how far each run is.")
    ] = False,
    markdown: Annotated[bool, Option("--markdown", help="Print Markdown tables.")] = False,
    device: DeviceName = "auto",
    data: Root = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study: rows of settings times seeds, those missing alone, and compare the rows."""
    from alexnet.recipe import parse_assignment
    from alexnet.run.log import Console
    from alexnet.studies import plan
    from alexnet.studies.cells import cells, chosen, refuse_others
    from alexnet.studies.running import run_missing

    if name is None:
        _list(as_json)
        return
    if name.endswith(".json"):
        from alexnet.reporting import study as tables

        _print(tables.read(Path(name)), markdown, as_json)
        return
    if place().world > 1:
        raise UsageError("a study is one process; let torchrun run its runs one by one")
    loaded, numbers = plan.load(name), seeds_of(seeds) if seeds is not None else []
    folder = out or Path("runs") / "studies" / loaded.name
    settings = dict(parse_assignment(text) for text in changes or [])
    every = cells(loaded, folder, seeds=numbers, changes=settings)
    wanted = chosen(loaded, every, seeds=numbers, only=only or ())
    refuse_others(every)
    if dry_run:
        _foretell(loaded, wanted, as_json)
        return
    made = _Made(loaded, every, folder, settings, typed())
    failed = run_missing(wanted, _verbs(made, device, data, Console(quiet=quiet)), made.command)
    _print(made.write(), markdown, as_json)
    if failed:
        raise TrainingError("\n".join(["some runs could not go on:", *failed]))


@dataclass(frozen=True)
class _Made:
    """A study in its folder, whose record is written anew after every run."""

    study: plan.Study
    every: list[Cell]
    out: Path
    changes: dict[str, Any]
    command: str

    def write(self) -> dict[str, Any]:
        """Write study.json and study.md and return the record."""
        from alexnet.reporting.study import markdown as table
        from alexnet.studies import record  # torch, which a plan can do without

        found = record.record_of(self.study, self.every, command=self.command, changes=self.changes)
        record.write(self.out, found, table(found))
        return found


def _verbs(made: _Made, device: str, data: Path | None, console: Console) -> Verbs:
    import alexnet
    from alexnet.studies.running import Verbs

    return Verbs(
        train=partial(
            alexnet.train,
            device=device,
            data_root=data,
            console=console,
            command=made.command,
        ),
        resume=partial(alexnet.resume, device=device, data_root=data, console=console),
        say=console.say,
        finished=made.write,
    )


def _list(as_json: bool) -> None:
    from alexnet.reporting.text import summary_table
    from alexnet.studies import plan

    found = [plan.load(name) for name in plan.names()]
    rows = [{"name": s.name, "about": s.summary} for s in found]
    write(rows if as_json else summary_table(rows))


def _foretell(study: plan.Study, every: list[Cell], as_json: bool) -> None:
    from alexnet.reporting.text import summary_table

    rows: list[dict[str, Any]] = [
        {
            "row": c.row,
            "seed": c.seed,
            "state": c.progress(),
            "folder": str(c.folder),
            "changes": _settings(study.line(c.row)),
        }
        for c in every
    ]
    write(rows if as_json else summary_table(rows))


def _settings(row: plan.Line) -> str:
    from alexnet.plain import flat

    changed = {"recipe": row.recipe} if row.recipe else {}
    changed |= dict(flat(row.set))
    return ", ".join(f"{key} = {value}" for key, value in changed.items())


def _print(record: dict[str, Any], markdown: bool, as_json: bool) -> None:
    from alexnet.reporting import study as tables

    text = tables.markdown if markdown else tables.text
    write(record if as_json else text(record))
