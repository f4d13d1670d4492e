"""The report of an intake for a terminal; everything that is cut short here is in intake.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unicodedata import east_asian_width

from alexnet.data.catalogue import FITS
from alexnet.data.photos.listing import some
from alexnet.data.photos.report import pair_text

MOST_LINES = 20  # of a kind
MOST_CLASSES = 40


def render(report: Mapping[str, Any]) -> str:
    """Write the report of an intake, as ``report.build`` gives it, for a terminal."""
    lines = [*_parts(report), *_classes(report), *_notes(report), *_warnings(report)]
    return "\n".join(lines)


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    size, fit = (
        report["size"],
        report.get("fit", "crop"),
    )  # reports of before 26 November 2026 have no fit
    how = "" if fit == "crop" else f" ({FITS[fit]})"
    for name, part in report["parts"].items():
        left_out = f", {part['unreadable']:,} unreadable left out" if part["unreadable"] else ""
        yield f"{name}: {part['pictures']:,} pictures{left_out}, stored {size}x{size}{how}"
        if part["pictures"]:
            yield f"  width {_spread(part['width'])}; height {_spread(part['height'])} (pixels)"
            yield "  " + ", ".join(f"{n:,} {kind}" for kind, n in part["kinds"].items())
            yield from _changed(part, size)


def _spread(values: Sequence[int]) -> str:
    least, median, greatest = values
    return f"{least} to {greatest}, median {median}" if least != greatest else str(least)


def _changed(part: Mapping[str, Any], size: int) -> Iterator[str]:
    said = [
        f"{part['enlarged']:,} enlarged (shorter side under {size})" if part["enlarged"] else "",
        f"{part['reduced']:,} decoded at reduced scale" if part["reduced"] else "",
        f"{part['turned']:,} turned upright (EXIF)" if part["turned"] else "",
    ]
    if any(said):
        yield "  " + ", ".join(filter(None, said))


def _classes(report: Mapping[str, Any]) -> Iterator[str]:
    """Pictures of each class, their sizes and kinds; of very many classes the smallest and the largest only."""
    parts, classes = report["parts"], report["classes"]
    total = {c: sum(part["per_class"][c] for part in parts.values()) for c in classes}
    shown = list(classes)
    if len(shown) > MOST_CLASSES:
        by_size = sorted(classes, key=total.__getitem__)
        shown = by_size[:5] + by_size[-5:]
        yield f"{len(classes):,} classes; the five smallest and the five largest:"
    width = max(map(columns, [*shown, "class"])) + 2
    heads = "".join(f"{name:>12}" for name in parts)
    yield f"  {'class':<{width}}{heads}{'width':>14}{'height':>14}  kinds"
    for label in shown:
        counts = "".join(f"{part['per_class'][label]:>12,}" for part in parts.values())
        found = [part.get("by_class", {}).get(label) for part in parts.values()]
        yield f"  {label}{' ' * (width - columns(label))}{counts}{_looks([f for f in found if f])}"


def _looks(found: Sequence[Mapping[str, Any]]) -> str:
    """Write the range of sides and the kinds of a class in all parts; an old report may have none."""
    sides = [
        " to ".join(dict.fromkeys(f"{x}" for x in (min(values), max(values)))) if values else ""
        for values in ([x for of in found for x in of[side]] for side in ("width", "height"))
    ]
    kinds: Counter[str] = Counter()
    for of in found:
        kinds.update(of["kinds"])
    told = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    return f"{sides[0]:>14}{sides[1]:>14}  {told}".rstrip()


def columns(text: str) -> int:
    """Return how wide a terminal shows a text: Hangul and its neighbours take two columns each."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


_PASSED = {
    "hidden": "hidden, ignored",
    "outside": "pictures of no class (in no class's folder, or not in the list), ignored",
    "others": "not pictures, ignored",
}


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    for what, title in _PASSED.items():
        some_of = report.get(what, {"count": 0})  # reports of version 0.1 have no "outside"
        if found := some_of["count"]:
            more = max(0, found - 5)
            names = ", ".join(some_of["names"][:5]) + (f" and {more:,} more" if more else "")
            yield f"{title}: {found:,} ({names})"
    if len(report["classes"]) == 1:
        yield f"one class only, {report['classes'][0]!r}: to score a model on, and nothing to train one to tell apart"
    for part, classes in report["missing"].items():
        yield f"{part} has no picture of: {some(classes)}"
    if groups := report["duplicates"]:
        copies = sum(len(group) - 1 for group in groups)
        yield (
            f"the same file more than once within a part: {_counted(copies, 'copy', 'copies')}; a part that is cut at "
            "random may have them on both sides"
        )
        yield from _cut([f"  {' = '.join(group)}" for group in groups])


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    if faults := report["unreadable"]:
        yield f"unreadable, left out: {len(faults):,}"
        yield from _cut([f"  {fault['name']}: {fault['reason']}" for fault in faults])
    if pairs := report["in_two_parts"]:
        many = _counted(len(pairs), "picture is", "pictures are")
        yield f"WARNING: {many} in two parts, so that a score on one is too good:"
        yield from _cut([pair_text(pair) for pair in pairs])
    yield from crossing(report.get("in_two_splits") or ())


def crossing(pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Tell of pictures that a run's own cut has put on both sides (``crossing.in_two_splits``)."""
    if pairs:
        many = _counted(len(pairs), "picture is", "pictures are")
        yield (
            f"WARNING: {many} on both sides of this run's own cut, so that a score is too good; remove copies, "
            "or make train and test parts of their own:"
        )
        yield from _cut([pair_text(pair) for pair in pairs], "the run's intake.json")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _cut(lines: Sequence[str], whole: str = "`alexnet data NAME --json`") -> Iterator[str]:
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES:,} more: {whole} has them all"
