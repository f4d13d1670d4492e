"""What a run writes down and what it shows while it goes: metrics.jsonl, the live bar, the clock."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import CheckpointError
from alexnet.run.files import write_text

# The files of a run's folder (``training.record``).
RECIPE, ENVIRONMENT, SPLITS, METRICS, RESULT = (
    "recipe.toml",
    "environment.json",
    "splits.json",
    "metrics.jsonl",
    "result.json",
)
STATISTICS, INTAKE, INTAKE_TEXT = "statistics.safetensors", "intake.json", "intake.txt"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the finished lines of a metrics.jsonl; a last line cut short by a kill is left out.

    Raises ``CheckpointError`` for any other line that cannot be read.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise CheckpointError(
                    f"{path} is damaged in line {number}: {error}; put a copy in its place, or remove that line"
                ) from None
    return found


def keep_metrics(path: Path, step: int) -> None:
    """Drop the lines after ``step``: a resumed run writes them again."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def add_metrics(path: Path, line: dict[str, Any]) -> None:
    """Append one line; it is on the disk before a checkpoint can speak of it."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass
class Clock:
    """Seconds of training alone: stopped while evaluating and drawing."""

    seconds: float = 0.0
    _started: float | None = field(default=None, repr=False)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside the block."""
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._started = self.read(), None

    def read(self) -> float:
        """Return the seconds so far, those of a block still open included."""
        open_ = time.perf_counter() - self._started if self._started is not None else 0.0
        return self.seconds + open_


class Console:
    """What a person sees: a live bar on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._live = not quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show one epoch's progress while the block runs."""
        if not self._live:
            yield Bar()
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        console = RichConsole(stderr=True)
        with Progress(*columns, transient=True, console=console, refresh_per_second=4) as progress:
            task = progress.add_task(title, total=total, completed=done, figures="")
            yield LiveBar(progress, task)


class Bar:
    """A bar that shows nothing."""

    live = False

    def advance(self, figures: str) -> None:
        """Move on by one step, with the figures to show beside the bar."""


class LiveBar(Bar):
    """A bar on a terminal."""

    live = True

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, figures: str) -> None:
        """Move on by one step, with the figures to show beside the bar."""
        self._progress.update(self._task, advance=1, figures=figures)


def minutes(seconds: float) -> str:
    """Write a duration for a person: ``8.3 s``, ``4:05``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else clock


def resume_command(run: Path) -> str:
    """Return the command that goes on with a run, ready for a shell."""
    return f'alexnet resume "{run}"' if " " in str(run) else f"alexnet resume {run}"
