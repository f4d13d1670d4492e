"""Anybody's photographs: a folder of class folders, a folder with a list, or a tar of either.

::

    CLASS/picture.jpg                      or below train/, val|valid|validation/ and test/
    labels.csv: path,label[,split]         or a .json list of such objects; any name
    photos.tar, photos.tar.gz, photos.tgz  of any of these; a single folder around all is passed
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path

from alexnet.data.archives import readable
from alexnet.data.photos.listing import Entry, Listing, Supply, digest, listing_of, refuse_few, some
from alexnet.data.photos.lists import is_list, read_list, spellings, why_not
from alexnet.data.photos.trees import LISTS, Member, Tree, is_archive, read_folder, read_tar
from alexnet.errors import DataError, UsageError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What may be a picture: the formats that are read, those that somebody may take for one (they are
# listed as unreadable, with the reason), and files without an ending.
ENDINGS = {
    *("", ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".svg", ".psd", ".raw", ".jp2"),
}


def is_place(path: Path) -> bool:
    """Tell whether a path is there and of a kind that photographs are read from."""
    # os.path: what lies below a folder that may not be entered is not there, and no error.
    listed = os.path.isfile(path) and (is_archive(path) or _is_list_file(path))
    return listed or os.path.isdir(path)


def refuse_no_place(path: Path) -> None:
    """Raise UsageError for a path that photographs are not read from."""
    if not is_place(path):
        raise UsageError(
            f"{path} is no data set: expected a folder, a list (.csv, .json) "
            "or an archive (.tar, .tar.gz, .tgz) that exists; unpack any other archive first"
        )


def supply(path: Path) -> Supply:
    """Return the photographs at ``path``: a folder, an archive, or a list (.csv, .json).

    A folder is listed here and now: a file that came, went or changed gives another key, and so does
    a list of other contents. Of an archive the key is its size and time. Raises UsageError for another path, DataError as
    ``listing_of`` when the pictures are asked for.
    """
    with readable(path):
        if path.is_dir():
            return _of_tree(read_folder(path), f"the folder {path}")
        refuse_no_place(path)
        if _is_list_file(path):
            tree = _listed(path)
            return _of_tree(tree, f"the list {path}", *map(_sha256, tree.texts.values()))
        facts = path.stat()
        key = digest("archive", path.name, facts.st_size, facts.st_mtime_ns)
        return Supply(key, lambda: arrange(read_tar(path)), f"the archive {path}")


def _of_tree(tree: Tree, source: str, *texts: str) -> Supply:
    """``texts``: the checksums of lists that are not among the tree's files."""
    files = [(name, *astuple(member)[2:]) for name, member in tree.files.items()]
    key = digest("folder", files, sorted(tree.folders), *texts)
    return Supply(key, partial(arrange, tree), source)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_list_file(path: Path) -> bool:
    return path.suffix.lower() in LISTS


def _listed(path: Path) -> Tree:
    """A list that was named itself: only the files in it are looked at, whatever lies about."""
    data = path.read_bytes()
    files: dict[str, Member] = {}
    for row in read_list(path.name, data):
        there = (name for name in spellings(row.path) if (path.parent / name).is_file())
        if (name := next(there, None)) is not None:
            facts = (file := path.parent / name).stat()
            files[name] = Member(str(file), 0, facts.st_size, facts.st_mtime_ns)
    return Tree(path.parent, files, frozenset(), {path.name: data}, ())


def arrange(tree: Tree) -> Listing:
    """Tell from the names which files are pictures, of which class and for what.

    Raises DataError as ``listing_of``, for several lists or a split of no known name, and for folders
    of parts beside others.
    """
    top = _top(tree)
    lists = [n for n, data in tree.texts.items() if _parent(n) == top and is_list(n, data)]
    if len(lists) > 1:
        raise DataError(f"{tree.root} holds several lists: {some(lists)}; keep one, or name it")
    entries = list(_from_list(tree, lists[0]) if lists else _from_folders(tree, top))
    taken = {entry.name for entry in entries}
    left = sorted(n for n in tree.files if n not in taken)
    passed = {
        "hidden": tree.hidden,
        "outside": tuple(n for n in left if _is_picture(n)),
        "others": () if lists else tuple(n for n in left if not _is_picture(n)),
    }
    empty = () if lists else _empty(tree, top, entries)
    hint = "" if lists else _no_list(tree, top)
    try:
        found = listing_of(entries, where=tree.root, empty=empty, packed=tree.packed, **passed)
        refuse_few(found.classes, 2 if hint else 1, tree.root)  # the table may have the classes
    except DataError as error:
        raise DataError(f"{error}{hint}") from None
    return found


def _no_list(tree: Tree, top: str) -> str:
    """Say of tables beside the folders why their labels were not used."""
    tables = {n: data for n, data in tree.texts.items() if _parent(n) == top and data.strip()}
    told = [f"{n} is not read as a list: {why_not(n, data)}" for n, data in tables.items()]
    return f"; {some(told)}" if told else ""


def _top(tree: Tree) -> str:
    """The folder that everything is in: where only one folder lies, and no picture, go down."""
    top = ""
    while True:
        inside = _children(tree, top)
        files = [n for n in tree.files if _parent(n) == top and _is_picture(n)]
        if len(inside) != 1 or files or not _goes_on(tree, inside[0]):
            return top
        top = inside[0]


def _goes_on(tree: Tree, folder: str) -> bool:
    """A single folder is a wrapping only if it holds folders, or a list."""
    lists = any(_parent(n) == folder and is_list(n, data) for n, data in tree.texts.items())
    return lists or bool(_children(tree, folder))


def _children(tree: Tree, folder: str) -> list[str]:
    return sorted(name for name in tree.folders if _parent(name) == folder)


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS


def pictures_below(folder: Path) -> list[str]:
    """Return the paths of all that may be pictures in a folder and below it, by name, hidden ones left out.

    Raises ``UsageError`` where there are none, ``DataError`` for a folder that cannot be read.
    """
    files = read_folder(folder).files
    found = [files[name].path for name in sorted(files) if _is_picture(name)]
    if not found:
        raise UsageError(f"{folder} holds no pictures, nor does any folder below it")
    return found


def _layout(tree: Tree, top: str) -> dict[str, str]:
    """The folders of classes with the part that each is of; the top itself is all of train."""
    inside = _children(tree, top)
    parts = {name: SPLITS.get(name.rpartition("/")[2].lower(), "") for name in inside}
    if inside and all(parts.values()):
        return parts
    _refuse_mixture(tree, parts)
    return {top: "train"}


def _refuse_mixture(tree: Tree, parts: Mapping[str, str]) -> None:
    """Raise DataError for parts beside other folders; a class may be called train, without folders."""
    meant = [name for name, part in parts.items() if part and _children(tree, name)]
    beside = [name for name, part in parts.items() if not part]
    if meant:
        raise DataError(
            f"{tree.root} holds {some(meant)} with folders of classes inside, and {some(beside)} beside: "
            f"expected parts ({', '.join(SPLITS)}) or classes, not both; move away what "
            "does not belong to the data set"
        )


def _from_folders(tree: Tree, top: str) -> Iterator[Entry]:
    layout = _layout(tree, top)
    for name, member in tree.files.items():
        base = next((b for b in layout if not b or name.startswith(f"{b}/")), None)
        if base is None or not _is_picture(name):
            continue
        label, below, _ = name[len(base) + bool(base) :].partition("/")
        if below:
            yield Entry(name, layout[base], label, member)


def _empty(tree: Tree, top: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    full = {entry.label for entry in entries if entry.part == "train"}
    bases = [base for base, part in _layout(tree, top).items() if part == "train"]
    names = [c.rpartition("/")[2] for base in bases for c in _children(tree, base)]
    return tuple(name for name in names if name not in full)


def _from_list(tree: Tree, name: str) -> Iterator[Entry]:
    base = name[: len(name) - len(name.rpartition("/")[2])]
    for row in read_list(name, tree.texts[name]):
        part = SPLITS.get(row.split.lower() or "train")
        if part is None:
            raise DataError(
                f"{name}: {row.path} is of the split {row.split!r}; known are {', '.join(SPLITS)}"
            )
        there = (p for p in spellings(row.path) if base + p in tree.files)
        path = base + next(there, row.path)
        yield Entry(path, part, row.label, tree.files.get(path))
