"""An embedding as files and in words: scatter plots, coordinates, and why classes overlap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import DataError, UsageError
from alexnet.exploration.embedding import Embedding, Neighbour, neighbours
from alexnet.exploration.projection import (
    Projection,
    Separation,
    need_scikit_learn,
    project,
    separation,
)
from alexnet.reporting.scatter import plot_scatter
from alexnet.reporting.scatter3d import write_scatter3d
from alexnet.reporting.style import percent
from alexnet.reporting.text import in_brackets
from alexnet.reporting.words import words
from alexnet.run.files import replacing, write_text

SUMMARY = "embedding.json"  # written last: it marks a folder as one of ours


@dataclass(frozen=True, eq=False)
class View:
    """An embedding seen in few dimensions, with how far its classes lie apart there and before."""

    space: Embedding
    projection: Projection
    seen: Separation | None  # in the components
    whole: Separation | None  # in all values of the layer
    model: str

    @property
    def components(self) -> int:
        """Return the number of dimensions that it is seen in."""
        return len(self.projection.shares)

    @property
    def title(self) -> str:
        """Name it above a picture."""
        return f"{self.space.layer} of {self.model} on {self.space.data}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values: everything but the vectors and coordinates themselves."""
        return {
            "model": self.model,
            "data": self.space.data,
            "layer": self.space.layer,
            "pool": self.space.pool,
            "precision": self.space.precision,
            "pictures": len(self.space),
            "values": self.space.vectors.shape[1],
            "classes": list(self.space.classes),
            "components": self.components,
            "variance_shares": list(self.projection.shares),
            "separation_in_components": self.seen.to_json() if self.seen else None,
            "separation_in_all_values": self.whole.to_json() if self.whole else None,
        }


def view(space: Embedding, components: int, model: str) -> View:
    """Project an embedding and measure its classes. Raises as ``projection.project`` does."""
    found = project(space, components)
    seen = separation(found.points, space.labels, space.classes)
    whole = separation(space.vectors, space.labels, space.classes)
    return View(space, found, seen, whole, model)


def text(seen: View, say: Mapping[str, str] | None = None) -> str:
    """Say what the components carry, how far the classes lie apart, and what would spread them.

    ``say``: the words of a language (``reporting.words``), by default English.
    """
    say = words("en") if say is None else say
    shares, space = seen.projection.shares, seen.space
    values, count = f"{space.vectors.shape[1]:,}", len(shares)
    each = ", ".join(percent(share) for share in shares)
    lines = [
        say["embedded"].format(
            f"{len(space):,}", space.data, values, space.layer, seen.model, space.precision
        ),
        say["carried"].format(count, percent(sum(shares)), each),
    ]
    if seen.seen is None or seen.whole is None:
        return "\n".join([*lines, say["not_compared"]])
    lines += [
        say["in_components"].format(count, _apart(seen.seen, say)),
        say["in_values"].format(values, _apart(seen.whole, say)),
        _reason(seen.seen, seen.whole, sum(shares), say),
    ]
    return "\n".join(lines)


def _apart(found: Separation, say: Mapping[str, str]) -> str:
    return say["separation"].format(
        say[_structure(found.silhouette)],
        f"{found.silhouette:.2f}",
        f"{found.compared:,}",
        f"{found.ratio:.2f}",
        *found.nearest,
        f"{found.nearest_spreads:.2f}",
    )


def _structure(silhouette: float) -> str:
    """Kaufman and Rousseeuw's reading of a silhouette (Finding Groups in Data, 1990, table 4)."""
    if silhouette > 0.7:
        return "well_apart"
    if silhouette > 0.5:
        return "apart"
    return "weakly_apart" if silhouette > 0.25 else "overlap"


def _reason(seen: Separation, whole: Separation, carried: float, say: Mapping[str, str]) -> str:
    if seen.silhouette > 0.5:
        return say["shown"]
    if whole.ratio > 1.2 * seen.ratio and whole.silhouette > seen.silhouette:
        return say["hidden"].format(percent(1 - carried))
    return say["not_in_layer"]


def write(seen: View, folder: Path) -> list[Path]:
    """Write scatter.png, scatter.html (of three components or more), embedding.npz, embedding.json.

    Files of an earlier embedding are replaced, each whole. Raises ``UsageError`` for a folder that
    holds anything else (``refuse_taken``) and for fewer than two components, ``DataError`` where a
    file cannot be written.
    """
    refuse_taken(folder)
    space, found = seen.space, seen.projection
    what = found.points, space.labels
    how: dict[str, Any] = {"shares": found.shares, "title": seen.title}
    written = [plot_scatter(*what, space.classes, folder / "scatter.png", **how)]
    page = folder / "scatter.html"
    if seen.components < 3:
        page.unlink(missing_ok=True)  # of an earlier embedding
    else:
        how["files"] = space.files
        written.append(write_scatter3d(*what, space.indices, space.classes, page, **how))
    try:
        written.append(_write_arrays(seen, folder / "embedding.npz"))
        write_text(
            folder / SUMMARY, json.dumps(seen.to_json(), indent=1, ensure_ascii=False) + "\n"
        )
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return [*written, folder / SUMMARY]


def refuse_taken(folder: Path) -> None:
    """Raise ``UsageError`` for a folder that holds anything but an earlier embedding."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SUMMARY).is_file():
        raise UsageError(f"{folder} holds other files already; choose another --out")


def _write_arrays(seen: View, path: Path) -> Path:
    """Write vectors and coordinates; ``numpy.load`` reads them without unpickling.

    ``files`` has no entries where the pictures came from none.
    """
    space, found = seen.space, seen.projection
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(
            file,
            vectors=space.vectors,
            labels=space.labels,
            indices=space.indices,
            files=np.array(space.files or (), dtype=str),
            classes=np.array(space.classes),
            points=found.points,
            axes=found.axes,
            centre=found.centre,
            shares=np.array(found.shares),
            precision=np.array(space.precision),
        )
    return path


@dataclass(frozen=True, eq=False)
class Near:
    """The pictures nearest to one, as text and as plain values."""

    space: Embedding
    position: int
    found: Sequence[Neighbour]

    @property
    def text(self) -> str:
        """Say which they are: their numbers, files, classes and distances."""
        same = sum(self._name(n.position) == self._name(self.position) for n in self.found)
        head = (
            f"Nearest to picture {self._which(self.position)}, {self._name(self.position)} "
            f"({same} of {len(self.found)} are of its class):"
        )
        lines = [
            f"  picture {self._which(n.position)}, {self._name(n.position)}, at {n.distance:.4g}"
            for n in self.found
        ]
        return "\n".join([head, *lines])

    def to_json(self) -> dict[str, Any]:
        """Return plain values; pictures by their numbers within the part of the data set."""
        each = [
            {
                **self._told(n.position),
                "class": self._name(n.position),
                "distance": n.distance,
            }
            for n in self.found
        ]
        return {**self._told(self.position), "neighbours": each}

    def _told(self, position: int) -> dict[str, Any]:
        files = self.space.files
        index = int(self.space.indices[position])
        return {"index": index, "file": files[position] if files else None}

    def _which(self, position: int) -> str:
        found = self._told(position)
        return f"{found['index']}{in_brackets(found['file'])}"

    def _name(self, position: int) -> str:
        return self.space.classes[int(self.space.labels[position])]


def near(space: Embedding, index: int, count: int = 10) -> Near:
    """Find the ``count`` pictures (or all, where there are fewer) nearest to picture ``index``.

    ``index`` counts within the part of the data set. Raises ``UsageError`` where it is not among
    the pictures embedded, or is the only one.
    """
    places = np.flatnonzero(space.indices == index)
    if not len(places):
        raise UsageError(f"picture {index} is not among the {len(space):,} of {space.data}")
    position = int(places[0])
    return Near(space, position, neighbours(space, position, min(count, len(space) - 1)))


def refuse_impossible(components: int, folder: Path) -> None:
    """Raise ``UsageError`` for what would fail after minutes of work, before any is done."""
    if components < 2:
        raise UsageError(f"{components} components; a picture of them needs 2 or more")
    need_scikit_learn()
    refuse_taken(folder)
