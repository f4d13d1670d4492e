"""All recorded runs and what they say about the published claims: text, Markdown, plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.reporting.claims import Claim, claims
from alexnet.reporting.recorded import read_records, summaries
from alexnet.reporting.results import full_rows, short_rows, view_rows
from alexnet.reporting.text import markdown_table, summary_table


@dataclass(frozen=True)
class Page:
    """Recorded runs: the short table's rows, the full one's, a row for each view, and the claims."""

    short: Sequence[dict[str, str]]
    full: Sequence[dict[str, str]]
    views: Sequence[dict[str, str]]
    claims: Sequence[Claim]

    @property
    def text(self) -> str:
        """Write the short table and the claims for a terminal."""
        return "\n\n".join([summary_table(self.short), *(claim.text for claim in self.claims)])

    @property
    def markdown(self) -> str:
        """Write the full table and the claims, without curves."""
        return self.sections(lambda claim: "")

    def sections(self, picture_of: Callable[[Claim], str]) -> str:
        """Write ``markdown`` with pictures; ``picture_of`` gives a claim's address or nothing."""
        return "\n\n".join(
            [
                markdown_table(self.full),
                "## In every view that they were scored in",
                markdown_table(self.views),
                "## What each number says about the published claim",
                *(claim.markdown(picture_of(claim)) for claim in self.claims),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        told = [claim.to_json() for claim in self.claims]
        return {"runs": list(self.full), "views": list(self.views), "claims": told}


def page(folder: Path) -> Page:
    """Read the records of a folder. Raises ``DataError`` for one without any, or with other files."""
    return page_of(read_records(folder))


def page_of(records: Sequence[dict[str, Any]]) -> Page:
    """Take records together."""
    known = summaries(records)
    return Page(short_rows(records), full_rows(known), view_rows(records), claims(known))
