"""A bar on a terminal, elsewhere a line every ten seconds, for work on many things of one kind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_PER_LINE = 10.0

Say = Callable[[str], None]


@contextmanager
def counting(
    title: str,
    total: int,
    done: int,
    say: Say,
    *,
    unit: str = "pictures",
    quiet: bool = False,
) -> Iterator[Callable[[int], None]]:
    """Show how many units of ``total`` are done while the block runs; yields what adds to it."""
    if quiet or not sys.stderr.isatty():
        yield _lines(title, total, done, say, unit)
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    began = time.monotonic()
    with progress.Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            have = bar.tasks[0].completed - done
            bar.update(task, rate=f"{have / (time.monotonic() - began):.0f} {unit}/s")

        yield advance


def _lines(title: str, total: int, done: int, say: Say, unit: str) -> Callable[[int], None]:
    began = spoke = time.monotonic()
    have = done

    def advance(count: int) -> None:
        nonlocal have, spoke
        have += count
        now = time.monotonic()
        if now - spoke < SECONDS_PER_LINE:
            return
        spoke = now
        rate = (have - done) / (now - began)
        say(
            f"{title}: {have:,} of {total:,} {unit}, {rate:.0f} {unit}/s, "
            f"{(total - have) / rate:.0f} s left"
        )

    return advance
