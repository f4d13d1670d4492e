"""What the WordNet ids of ImageNet's classes mean (``wordnet-names.tsv``, which has the licence)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources


@cache
def names() -> Mapping[str, str]:
    """Return the name of each of ILSVRC's 1000 classes by its id, e.g. ``n01440764``: ``tench``.

    In the order of the ids, which is the order of the classes; no name stands twice.
    """
    text = (resources.files("alexnet") / "data" / "photos" / "wordnet-names.tsv").read_text(
        encoding="utf-8"
    )
    rows = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return {key: name for key, _, name in rows}
