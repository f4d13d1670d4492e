"""Which pictures a data set has, of which class and for what: known before one is opened."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from alexnet.data.photos import wordnet
from alexnet.data.photos.trees import Member
from alexnet.errors import DataError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: its name from the top of the data set, its part, its class, its bytes.

    ``member`` is None for a picture that a list names and that is not there.
    """

    name: str
    part: str
    label: str
    member: Member | None


@dataclass(frozen=True, eq=False)
class Listing:
    """All pictures of a data set, by part, class and name.

    What was passed over: ``hidden`` files and folders, pictures ``outside`` every class (in no class's
    folder, or not in the list), and ``others``, no pictures by their ending. ``packed``: as in
    ``trees.Tree``.
    """

    entries: tuple[Entry, ...]
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    aliases: Mapping[str, str]
    hidden: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    packed: bool = False
    outside: tuple[str, ...] = ()

    def renamed(self, parts: Mapping[str, str]) -> Listing:
        """Return the same with other names for its parts, e.g. those of an official archive."""
        entries = tuple(replace(e, part=parts.get(e.part, e.part)) for e in self.entries)
        return replace(self, entries=entries, parts=tuple(parts.get(p, p) for p in self.parts))


@dataclass(frozen=True)
class Supply:
    """Where a data set of photographs comes from.

    ``key`` names the bytes: with another key they are looked at again. ``listing`` finds the
    pictures, which may take a while. ``source`` is a sentence for the card.
    """

    key: str
    listing: Callable[[], Listing]
    source: str


def digest(*values: object) -> str:
    """Return a name for values: the SHA-256 of what they print as."""
    text = "\n".join(map(repr, values))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def listing_of(
    entries: Iterable[Entry],
    *,
    where: object,
    empty: Iterable[str] = (),
    hidden: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    packed: bool = False,
    outside: tuple[str, ...] = (),
) -> Listing:
    """Sort and check. ``where`` names the data set in messages, ``empty`` its empty class folders.

    Raises DataError for no picture at all, no training part, an empty class, and a class that training
    does not have.
    """
    found = [replace(e, label=_plain(where, e.label)) for e in entries]
    _check_parts(where, found, outside)
    classes = _in_order({e.label for e in found if e.part == "train"})
    _check_classes(where, found, classes, [_plain(where, name) for name in empty])
    number = {label: i for i, label in enumerate(classes)}
    found.sort(key=lambda e: (PARTS.index(e.part), number[e.label], e.name))
    present = {e.part for e in found}
    parts = tuple(part for part in PARTS if part in present)
    plain = Listing(tuple(found), parts, classes, {}, hidden, others, packed, outside)
    return _with_names(plain)


def _plain(where: object, label: str) -> str:
    """One spelling of a name whatever the file system: macOS keeps Hangul taken apart."""
    label = unicodedata.normalize("NFC", label)
    if not label.isprintable():
        raise DataError(f"{where}: the class name {label!r} cannot be written; rename it")
    return label


def _check_parts(where: object, entries: list[Entry], outside: Sequence[str]) -> None:
    if not entries:
        what = f"{len(outside):,} pictures, but in no class's folder" if outside else "no pictures"
        raise DataError(
            f"{where} holds {what}; expected a folder of class folders "
            "(CLASS/picture.jpg), those below train/, validation/ and test/, or a list "
            "(CSV: path,label[,split])"
        )
    if all(e.part != "train" for e in entries):
        parts = sorted({e.part for e in entries})
        raise DataError(f"{where} has {' and '.join(parts)} but no train part to learn from")


def _check_classes(
    where: object, entries: list[Entry], classes: tuple[str, ...], empty: list[str]
) -> None:
    if bare := sorted(set(empty) - set(classes)):
        raise DataError(
            f"{where}: no picture for training in {some(bare)}; fill or remove empty classes"
        )
    unknown = sorted({f"{e.label} (in {e.part})" for e in entries if e.label not in set(classes)})
    if unknown:
        raise DataError(
            f"{where}: classes that train does not have: {some(unknown)}; it has {some(classes)}"
        )


def refuse_few(classes: Sequence[str], least: int, where: object) -> None:
    """Raise DataError for fewer classes than ``least``: to be trained on there are two or more."""
    if len(classes) < least:
        raise DataError(
            f"{where} has one class only, {classes[0]!r}: there is nothing to tell apart"
        )


def _in_order(labels: set[str]) -> tuple[str, ...]:
    """By name; numbers by their value."""
    numbers = all(label.isascii() and label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=(lambda x: (int(x), x)) if numbers else (lambda x: (0, x))))


def _with_names(found: Listing) -> Listing:
    """Call the classes by their human names where all are WordNet ids; the ids become aliases."""
    known = wordnet.names()
    if not all(label in known for label in found.classes):
        return found
    names = {label: known[label] for label in found.classes}
    entries = tuple(replace(e, label=names[e.label]) for e in found.entries)
    return replace(found, entries=entries, classes=tuple(names.values()), aliases=names)


def some(names: Iterable[str], most: int = 8) -> str:
    """Write some of many names, and how many there are besides."""
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(islice(listed, most)) + more
