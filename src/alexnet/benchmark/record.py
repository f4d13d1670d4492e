"""What every suite leaves: rows of figures with their spread and a ratio, kept as one JSON file.

::

    benchmarks/NAME.json
      suite, command, date, commit   what was measured, by which line, when, of which code
      environment                    hardware, threads, versions
      settings                       what the suite was asked for
      rows                           n, min, median, mean, max and deviation of each figure; what
                                     it stands beside, and the ratio to that
      details                        what the rows were made from, where that is worth keeping
      note                           a remark on the whole, where one was made (`alexnet note`)
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from alexnet.errors import UsageError
from alexnet.run.device import Device, environment
from alexnet.run.files import write_text
from alexnet.run.stamp import commit, today

FORMAT = 1


@dataclass(frozen=True)
class Spread:
    """A figure measured ``n`` times."""

    n: int
    min: float
    median: float
    mean: float
    max: float
    deviation: float  # of a sample, that is over n - 1; 0 for one value

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise one value or more."""
        found = sorted(map(float, values))
        middle, mean = statistics.median(found), statistics.fmean(found)
        deviation = statistics.stdev(found) if len(found) > 1 else 0.0
        return cls(len(found), found[0], middle, mean, found[-1], deviation)


@dataclass(frozen=True)
class Row:
    """One figure of a suite. ``measured`` is None where there was nothing to measure: ``note`` says why.

    ``ratio``: the median over that of ``beside``, a limit or a peer measured in the same run.
    ``more``: further columns, numbers or words, in the order in which they are shown. ``headline``:
    shown where there is room for a few rows of a suite only.
    """

    what: str
    unit: str = ""
    measured: Spread | None = None
    beside: str = ""
    ratio: float | None = None
    more: Mapping[str, float | str] = field(default_factory=dict)
    note: str = ""
    headline: bool = False

    def over(self, peer: Row) -> Row:
        """Return this row with its ratio to another one of the same run."""
        if self.measured is None or peer.measured is None:
            return replace(self, beside=peer.what)
        return replace(self, beside=peer.what, ratio=self.measured.median / peer.measured.median)


@dataclass(frozen=True)
class Record:
    """One run of a suite: what was asked, on what it ran, and what was found."""

    suite: str
    command: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    environment: Mapping[str, Any]
    commit: str
    date: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"format": FORMAT, **asdict(self), "rows": [asdict(row) for row in self.rows]}


def record(
    suite: str,
    rows: Sequence[Row],
    device: Device,
    *,
    command: str,
    settings: Mapping[str, Any],
    details: Mapping[str, Any] | None = None,
    packages: Mapping[str, str] | None = None,
) -> Record:
    """Put rows together with what must stand beside them: hardware, versions, commit and date.

    ``packages``: versions of what a suite used besides the package's own dependencies.
    """
    around = environment(device)
    around["packages"] = {**around["packages"], **(packages or {})}
    kept = dict(settings), tuple(rows), around, commit(), today(), dict(details or {})
    return Record(suite, command, *kept)


def refuse_bad_path(path: Path | None) -> None:
    """Raise ``UsageError``, before anything is measured, for a name that no record can have."""
    if path is not None and path.suffix != ".json":
        raise UsageError(
            f"--record {path}: a record is a JSON file; e.g. benchmarks/inference.json"
        )
    if path is not None and path.is_dir():
        raise UsageError(f"--record {path} is a folder; name a file in it")


def keep(found: Record, path: Path) -> Path:
    """Write a record, whole or not at all; its folder is made where there is none."""
    refuse_bad_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")
    return path
