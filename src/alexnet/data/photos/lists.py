"""A list of pictures: CSV with the columns ``path,label[,split]``, or the same as JSON objects."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any
from unicodedata import normalize

from alexnet.data.photos.listing import some
from alexnet.errors import DataError

HINT = "expected a CSV with the columns path,label[,split], or a JSON list of such objects"

SEPARATORS = ",;\t"  # of a CSV: Excel writes what the country's decimal comma leaves
_UNREADABLE = (ValueError, csv.Error, RecursionError)
MOST_SPELLINGS = 64  # of one path: six names of Hangul


@dataclass(frozen=True)
class Row:
    """One line of a list: a picture's path from the list's folder, its class, its split or ''."""

    path: str
    label: str
    split: str


def is_list(name: str, data: bytes) -> bool:
    """Tell whether a .csv or .json names pictures and labels; other tables may lie about."""
    return not why_not(name, data)


def why_not(name: str, data: bytes) -> str:
    """Return why a .csv or .json is no list of pictures; an empty text of one that is."""
    try:
        rows = _parsed(name, data)
    except _UNREADABLE as error:
        return f"{error}; {HINT}"
    if not rows or not isinstance(rows[0], Mapping):
        return HINT
    has = list(map(str, rows[0]))
    return "" if {"path", "label"} <= {*has} else f"{HINT}; it has {some(has)}"


def read_list(name: str, data: bytes) -> list[Row]:
    """Read a list. Raises DataError, naming the row, for one that is not as ``HINT`` says."""
    raw = _raw(name, data)
    if not raw:
        raise DataError(f"{name} lists no pictures; {HINT}")
    rows: dict[str, Row] = {}
    for number, values in enumerate(raw, start=1):
        row = _row(f"{name}, picture {number}", values)
        if (one := normalize("NFC", row.path)) in rows:
            raise DataError(f"{name}, picture {number}: {row.path} is listed twice")
        rows[one] = row
    return list(rows.values())


def spellings(path: str) -> Iterator[str]:
    """Yield a path as it is, then with the letters of each folder's and the file's name in one and apart.

    macOS keeps Hangul apart, whatever the list has.
    """
    yield path
    ways = [dict.fromkeys(normalize(form, p) for form in ("NFC", "NFD")) for p in path.split("/")]
    yield from islice(map("/".join, product(*ways)), MOST_SPELLINGS)


def _row(where: str, values: Mapping[str, Any]) -> Row:
    if not isinstance(values, Mapping):
        raise DataError(f"{where}: {values!r} is no object; {HINT}")
    path, label = (_text(values.get(key)) for key in ("path", "label"))
    if not path or not label:
        raise DataError(f"{where}: no {'label' if path else 'path'} in {dict(values)!r}; {HINT}")
    path = path.replace("\\", "/").removeprefix("./")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/"):
        raise DataError(f"{where}: {path} is not below the list's folder; give paths from there")
    return Row(path, label, _text(values.get("split")))


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _raw(name: str, data: bytes) -> list[Mapping[str, Any]]:
    try:
        return _parsed(name, data)
    except _UNREADABLE as error:
        raise DataError(f"{name} is no readable list: {error}; {HINT}") from error


def _parsed(name: str, data: bytes) -> list[Mapping[str, Any]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from None
    if name.lower().endswith(".json"):
        values = json.loads(text)
        if not isinstance(values, list):
            raise ValueError("it holds no list")
        return values
    between = max(SEPARATORS, key=text.partition("\n")[0].count)
    table = io.StringIO(text, newline="")
    return list(csv.DictReader(table, delimiter=between, strict=True))
