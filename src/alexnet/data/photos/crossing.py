"""Pictures that are on both sides of a run's own cut: found as those in two parts of a data set are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from PIL import Image

from alexnet.data.cache import Dataset
from alexnet.data.photos.likeness import twins
from alexnet.data.photos.noting import likeness
from alexnet.data.photos.report import writable

MOST = 100_000  # pictures of a part: more would take a minute and longer

Split = tuple[str, np.ndarray]  # the part that is cut, and which of it: (n,) int64


def in_two_splits(dataset: Dataset, splits: Mapping[str, Split]) -> list[dict[str, Any]] | None:
    """Return the pictures of a split that another split of the same part has too, each once, in pairs
    such as ``report.build`` gives.

    Files of the same bytes are the same picture, and what looks the same is (``likeness``), computed from the
    stored squares: 0.1 ms each. ``splits`` by their names, e.g. train and test. None: nothing was
    looked for, of pictures that are no photographs, in parts that are not cut and in very large ones.
    """
    cut = [pair for pair in combinations(splits, 2) if len({splits[s][0] for s in pair}) == 1]
    parts = {splits[one][0] for one, _ in cut}
    report = dataset.report()
    if report is None or not cut or any(len(dataset.parts[p].labels) > MOST for p in parts):
        return None
    bits = {name: _bits(dataset, splits[name]) for pair in cut for name in pair}
    group = {n: number for number, names in enumerate(report["duplicates"]) for n in names}
    return [
        pair for one, other in cut for pair in _pairs(dataset, splits, (one, other), bits, group)
    ]


def _bits(dataset: Dataset, split: Split) -> np.ndarray:
    """The likeness of each picture of a split: (n,) uint64."""
    part, chosen = split
    images = dataset.parts[part].images
    return np.array([likeness(Image.fromarray(images[i])) for i in chosen], np.uint64)


def _pairs(
    dataset: Dataset,
    splits: Mapping[str, Split],
    two: tuple[str, str],
    bits: Mapping[str, np.ndarray],
    group: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
    """Yield the pictures of the second of ``two`` splits that are in the first."""
    part = splits[two[0]][0]
    (_, first), (_, second) = (splits[name] for name in two)
    known, data = dataset.names(part) or (), dataset.parts[part]
    read = (lambda n: data.images[first[n]]), (lambda n: data.images[second[n]])
    for j, i in twins(bits[two[0]], bits[two[1]], *read).items():
        places = (int(first[i]), int(second[j]))
        names = [writable(known[place]) for place in places]
        yield {
            "same": "bytes" if _in_one(group, names) else "content",
            "names": names,
            "parts": list(two),
            "classes": [dataset.classes[int(data.labels[place])] for place in places],
        }


def _in_one(group: Mapping[str, int], names: Sequence[str]) -> bool:
    """Say whether files are of the same bytes; ``group``: by the name, of those that others are the same as."""
    return len({group.get(name, name) for name in names}) == 1
