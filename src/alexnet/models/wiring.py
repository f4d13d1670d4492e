"""Which row reads what: a table is walked from top to bottom, and a row may read any earlier one.

A row reads the one before it unless its ``reads`` names another; ``Add`` reads a second one besides.
So a branch is a few rows of the table like all others, and ends in an ``Add``. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alexnet.models.rows import Row

PICTURE = ""  # what the first row reads


@dataclass(frozen=True)
class Add(Row):
    """Adds what left an earlier row, ``other``, to what enters: the end of a skip connection.

    Both must have one shape; nothing is broadcast (``table.trace`` refuses it).
    """

    other: str = field(kw_only=True)

    kind = "Add"


def sources(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return for each row the names of those that it reads: one, of an ``Add`` two.

    Raises ``ValueError`` for a row that reads one which does not stand before it.
    """
    seen, found = [PICTURE], []
    for row in rows:
        read = (row.reads or seen[-1], *((row.other,) if isinstance(row, Add) else ()))
        if missing := set(read) - set(seen):
            raise ValueError(f"{row.name!r} reads {missing.pop()!r}, which is no row before it")
        found.append(read)
        seen.append(row.name)
    return found


def held(rows: Sequence[Row]) -> frozenset[str]:
    """Return the names of the rows whose output is read by others than the row right behind."""
    before = [PICTURE, *(row.name for row in rows)]
    pairs = zip(before, sources(rows), strict=False)
    return frozenset(name for last, read in pairs for name in read if name != last)


def entering(rows: Sequence[Row], first: int) -> list[str]:
    """Return the names of the rows before number ``first`` that rows from there on read, in order.

    What left these is all that the rows from ``first`` on depend on.
    """
    read = {name for names in sources(rows)[first:] for name in names}
    return [name for name in (PICTURE, *(row.name for row in rows[:first])) if name in read]
