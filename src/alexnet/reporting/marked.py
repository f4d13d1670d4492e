"""Tables some rows of which have a remark: a mark in the row, the sentence once below. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alexnet.reporting.text import markdown_table, sentence, summary_table


@dataclass(frozen=True)
class Table:
    """Rows, and of each its remark, empty where it has none; ``column`` is where the mark stands."""

    rows: Sequence[dict[str, str]]
    notes: Sequence[str]
    column: str = "training"

    @property
    def text(self) -> str:
        """Write it for a terminal."""
        return "\n".join([summary_table(self._marked()), *self._below()])

    @property
    def markdown(self) -> str:
        """Write it for a document; empty where there are no rows."""
        if not self.rows:
            return ""
        return "\n\n".join([markdown_table(self._marked()), "  \n".join(self._below())]).rstrip()

    @property
    def starred(self) -> str:
        """Write it for a document that leaves the sentences to another: a star for each remark."""
        return markdown_table(self._with(dict.fromkeys(self.notes, "*"))) if self.rows else ""

    def to_json(self) -> list[dict[str, str]]:
        """Return plain rows, without marks, each with its ``note``."""
        return [{**row, "note": note} for row, note in zip(self.rows, self.notes, strict=True)]

    def _marked(self) -> list[Mapping[str, str]]:
        return self._with(self._marks())

    def _with(self, marks: Mapping[str, str]) -> list[Mapping[str, str]]:
        return [
            {**row, self.column: f"{row[self.column]} {marks[note]}"} if note else row
            for row, note in zip(self.rows, self.notes, strict=True)
        ]

    def _below(self) -> list[str]:
        return [f"{mark} {sentence(note)}" for note, mark in self._marks().items()]

    def _marks(self) -> dict[str, str]:
        different = dict.fromkeys(filter(None, self.notes))
        return {note: f"[{number}]" for number, note in enumerate(different, start=1)}
