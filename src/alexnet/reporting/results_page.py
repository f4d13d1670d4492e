"""All recorded runs and what they say about the published claims: text, Markdown, plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.reporting.claims import Claim, claims
from alexnet.reporting.marked import Table
from alexnet.reporting.recorded import read_records, summaries
from alexnet.reporting.results import full_rows, short_rows, view_rows
from alexnet.reporting.text import markdown_table
from alexnet.reporting.unfinished import Unfinished, read_unfinished, table

STOPPED = "Runs that did not end"
STARS = r"\* See the remark in [RESULTS.md](RESULTS.md): for example, other programs ran at the same time."


@dataclass(frozen=True)
class Page:
    """Recorded runs: the short table, the full one, runs that did not end, views, and the claims."""

    short: Table
    full: Table
    stopped: Table
    views: Sequence[dict[str, str]]
    claims: Sequence[Claim]

    @property
    def text(self) -> str:
        """Write the short table, the runs that did not end, and the claims for a terminal."""
        stopped = [f"{STOPPED}\n\n{self.stopped.text}"] * bool(self.stopped.rows)
        return "\n\n".join([self.short.text, *stopped, *(claim.text for claim in self.claims)])

    @property
    def brief(self) -> str:
        """Write the tables that README.md carries; RESULTS.md has the remarks on their rows."""
        stopped = [f"{STOPPED}:", self.stopped.starred] * bool(self.stopped.rows)
        stars = [STARS] * any([*self.short.notes, *self.stopped.notes])
        return "\n\n".join([self.short.starred, *stopped, *stars])

    @property
    def markdown(self) -> str:
        """Write the full tables and the claims, without curves."""
        return self.sections(lambda claim: "")

    def sections(self, picture_of: Callable[[Claim], str]) -> str:
        """Write ``markdown`` with pictures; ``picture_of`` gives a claim's address or nothing."""
        return "\n\n".join(
            [
                self.full.markdown,
                *[f"## {STOPPED}", self.stopped.markdown] * bool(self.stopped.rows),
                "## In every view that they were scored in",
                markdown_table(self.views),
                "## What each number says about the published claim",
                *(claim.markdown(picture_of(claim)) for claim in self.claims),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "runs": self.full.to_json(),
            "unfinished": self.stopped.to_json(),
            "views": list(self.views),
            "claims": [claim.to_json() for claim in self.claims],
        }


def page(folder: Path) -> Page:
    """Read the records of a folder. Raises ``DataError`` for one without any, or with other files."""
    return page_of(read_records(folder), read_unfinished(folder))


def page_of(records: Sequence[dict[str, Any]], begun: Sequence[Unfinished] = ()) -> Page:
    """Take records together, and the runs that did not end."""
    known = summaries(records)
    notes = [runs.note for runs in known]
    return Page(
        Table(short_rows(records), notes),
        Table(full_rows(known), notes),
        table(begun),
        view_rows(records),
        claims(known, begun),
    )
