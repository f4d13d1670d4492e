"""What an intake found: as plain values, which the cache keeps, and as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from alexnet.data.photos.likeness import alike, confirmed, same_bytes
from alexnet.data.photos.listing import Listing
from alexnet.data.photos.states import STORED, UNREADABLE
from alexnet.errors import DataError

MOST_NAMES = 50  # of what was passed over; everything that could not be read is named
MOST_FAULTS = 20  # that an error names


def build(
    listing: Listing,
    records: np.ndarray,
    faults: Mapping[int, str],
    row_of: Callable[[int], np.ndarray],
    size: int,
    fit: str = "crop",
) -> dict[str, Any]:
    """Return the report of an intake as JSON-able values.

    ``records`` (N,) and ``faults`` by place are those of ``listing``'s pictures, ``row_of`` gives
    the stored pixels of one, which ``fit`` made a square of ``size``.
    """
    parts = np.array([entry.part for entry in listing.entries])
    twice = same_bytes(records["digest"])
    twice = [g[records["state"][g] == STORED] for g in twice]
    twice = [g for g in twice if len(g) > 1]
    names = [writable(entry.name) for entry in listing.entries]
    within = [[names[i] for i in g] for g in twice if len({parts[i] for i in g}) == 1]
    return {
        "size": size,
        "fit": fit,
        "classes": list(listing.classes),
        "parts": {part: _part(listing, records, parts == part, size) for part in listing.parts},
        "unreadable": [
            _fault(listing, int(i), faults) for i in np.flatnonzero(records["state"] == UNREADABLE)
        ],
        "duplicates": within,
        "in_two_parts": _in_two_parts(listing, records, parts, twice, row_of),
        "missing": _missing(listing, records, parts),
        "hidden": _some(listing.hidden),
        "outside": _some(listing.outside),
        "others": _some(listing.others),
    }


def _part(listing: Listing, records: np.ndarray, mine: np.ndarray, size: int) -> dict[str, Any]:
    kept = records[mine & (records["state"] == STORED)]
    labels = [e.label for e, own in zip(listing.entries, mine, strict=True) if own]
    stored = records["state"][mine] == STORED
    counts = Counter(label for label, ok in zip(labels, stored, strict=True) if ok)
    shorter = np.minimum(kept["width"], kept["height"])
    return {
        "pictures": len(kept),
        "unreadable": int(mine.sum()) - len(kept),
        "per_class": {label: counts.get(label, 0) for label in listing.classes},
        "by_class": _by_class(listing, records[mine], np.array(labels)),
        "width": _spread(kept["width"]),
        "height": _spread(kept["height"]),
        "bytes": _spread(kept["bytes"]),
        "kinds": dict(Counter(k.decode() for k in kept["kind"].tolist()).most_common()),
        "turned": int(kept["turned"].sum()),
        "reduced": int(kept["reduced"].sum()),
        "enlarged": int((shorter < size).sum()),
        "sums": [int(x) for x in kept["sums"].sum(axis=0)],
        "squares": [int(x) for x in kept["squares"].sum(axis=0)],
    }


def _by_class(listing: Listing, records: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Sizes, kinds and losses of each class of a part; a class that it has nothing of is absent."""
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    groups = dict(zip(names.tolist(), np.split(records[order], starts[1:]), strict=True))
    return {label: _of_class(groups[label]) for label in listing.classes if label in groups}


def _of_class(records: np.ndarray) -> dict[str, Any]:
    kept = records[records["state"] == STORED]
    return {
        "unreadable": len(records) - len(kept),
        "width": _spread(kept["width"]),
        "height": _spread(kept["height"]),
        "kinds": dict(Counter(k.decode() for k in kept["kind"].tolist()).most_common()),
    }


def _spread(values: np.ndarray) -> list[int]:
    """Least, median and greatest; nothing of nothing."""
    if not len(values):
        return []
    return [int(values.min()), int(np.median(values)), int(values.max())]


def _fault(listing: Listing, i: int, faults: Mapping[int, str]) -> dict[str, str]:
    entry = listing.entries[i]
    named = {"name": writable(entry.name), "part": entry.part, "class": entry.label}
    return {**named, "reason": faults.get(i, "for no known reason")}


def _in_two_parts(
    listing: Listing,
    records: np.ndarray,
    parts: np.ndarray,
    twice: Sequence[np.ndarray],
    row_of: Callable[[int], np.ndarray],
) -> list[dict[str, Any]]:
    """Pairs of one picture in two parts; the same bytes first, then what only looks the same."""
    pairs = {
        (int(i), int(j)): "bytes"
        for group in twice
        for i, j in combinations(group, 2)
        if parts[i] != parts[j]
    }
    for one, other in combinations(listing.parts, 2):
        first, second = (
            np.flatnonzero((parts == part) & (records["state"] == STORED)) for part in (one, other)
        )
        close = alike(records["likeness"][first], records["likeness"][second])
        places = np.stack([first[close[:, 0]], second[close[:, 1]]], axis=1)
        for i, j in confirmed(places, row_of, row_of):
            pairs.setdefault((i, j), "content")
    return [_pair(listing, i, j, how) for (i, j), how in sorted(pairs.items())]


def _pair(listing: Listing, i: int, j: int, how: str) -> dict[str, Any]:
    two = [listing.entries[k] for k in (i, j)]
    return {
        "same": how,
        "names": [writable(entry.name) for entry in two],
        "parts": [entry.part for entry in two],
        "classes": [entry.label for entry in two],
    }


def _missing(listing: Listing, records: np.ndarray, parts: np.ndarray) -> dict[str, list[str]]:
    """The classes that a part has no readable picture of."""
    stored = records["state"] == STORED
    labels = np.array([entry.label for entry in listing.entries])
    found = {
        part: [c for c in listing.classes if c not in set(labels[stored & (parts == part)])]
        for part in listing.parts
    }
    return {part: classes for part, classes in found.items() if classes}


def _some(names: Sequence[str]) -> dict[str, Any]:
    return {"count": len(names), "names": [writable(name) for name in names[:MOST_NAMES]]}


def writable(text: str) -> str:
    """Put ``?`` where a file name has bytes that are not UTF-8, as old archives of Hangul names do."""
    return text.encode("utf-8", "replace").decode()


def refuse(report: Mapping[str, Any], *, strict: bool) -> None:
    """Raise DataError for what cannot be trained on and, if ``strict``, for any fault at all."""
    bare = report["missing"].get("train")
    gone = [name for name, part in report["parts"].items() if not part["pictures"]]
    if bare or gone:
        what = f"the class {', '.join(bare)}" if bare else f"the part {', '.join(gone)}"
        raise DataError(
            "\n".join([f"not one picture of {what} can be read:", *_some_faults(report)])
        )
    if not strict:
        return
    lines = [*_some_faults(report), *(pair_text(pair) for pair in report["in_two_parts"])]
    if lines:
        count = len(report["unreadable"]) + len(report["in_two_parts"])
        head = f"strict: {count:,} faults; mend or remove these, or leave out --strict:"
        raise DataError("\n".join([head, *lines]))


def _some_faults(report: Mapping[str, Any]) -> list[str]:
    """Write what cannot be read; of a whole folder of a telephone's pictures, how many more there are."""
    faults = report["unreadable"]
    lines = [f"  {fault['name']}: {fault['reason']}" for fault in faults[:MOST_FAULTS]]
    more = len(faults) - len(lines)
    return [*lines, f"  and {more:,} more that cannot be read"] if more else lines


def pair_text(pair: Mapping[str, Any]) -> str:
    """Write one picture that is in two parts."""
    (one, other), (first, second) = pair["parts"], pair["names"]
    how = "the very same file" if pair["same"] == "bytes" else "looks the same"
    return f"  {first} ({one}) and {second} ({other}): {how}"
