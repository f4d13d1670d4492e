"""The commands that keep records: a run among those recorded, and a remark in any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from alexnet.calling import Argument, Option
from alexnet.terminal import say


def record(
    run: Annotated[Path, Argument(help="A run's folder.")],
    file: Annotated[
        Path,
        Argument(
            metavar="FILE.json",
            help="E.g. results/a.json, or results/unfinished/a.json with --why.",
        ),
    ],
    why: Annotated[str, Option(help="Why it did not end, of a run that did not.")] = "",
) -> None:
    """Keep a run among those recorded, one that did not end too.

    Of one that did not: how far it came, its curve, its time, and --why; no test figure.
    """
    from alexnet.reporting.keeping import keep

    say(f"wrote {keep(run, file, why)}")


def note(
    where: Annotated[Path, Argument(help="A record, of a run or of `bench`, or a run's folder.")],
    remark: Annotated[str, Argument(help="A sentence; empty takes it out.")],
) -> None:
    """Put a remark into a record; it stands wherever its time does."""
    from alexnet.reporting.keeping import annotate

    say(f"wrote {annotate(where, remark)}")
