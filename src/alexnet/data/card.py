"""What a data set is, counted and measured: as plain values, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet.data.cache import Dataset, Pictures

_CHUNK = 4_000_000  # bytes of pixels at a time; their float64 copy takes eight times as much


def card(dataset: Dataset) -> dict[str, Any]:
    """Describe ``dataset`` in JSON-able values.

    For each part: count, shape of a picture (H, W, C), dtype, count per class, and the mean and
    the standard deviation (of all pixels, dividing by their number) of R, G and B on 0..255 and on
    0..1. Takes about a second for 60,000 pictures of 32x32.
    """
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "aliases": dict(dataset.aliases),
        "parts": {name: _describe(part, dataset.classes) for name, part in dataset.parts.items()},
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
    }


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel, each (3,) float64 on 0..255.

    ``images`` is (N, H, W, 3) uint8 and not empty. The sums are whole numbers below 2**53, so the
    result does not depend on the order of the pictures.
    """
    # Whole rows of H*W*3 values are added, three sums at a time would be several times slower.
    rows = images.reshape(len(images), -1)
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    step = max(1, _CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step].astype(np.float64)
        total += chunk.sum(axis=0)
        squares += np.square(chunk, out=chunk).sum(axis=0)
    count = images.size / 3
    mean = total.reshape(-1, 3).sum(axis=0) / count
    return mean, np.sqrt(squares.reshape(-1, 3).sum(axis=0) / count - mean**2)


def _describe(part: Pictures, classes: tuple[str, ...]) -> dict[str, Any]:
    mean, deviation = channel_statistics(part.images)
    counts = np.bincount(part.labels, minlength=len(classes))
    return {
        "count": len(part.labels),
        "shape": list(part.images.shape[1:]),
        "dtype": str(part.images.dtype),
        "per_class": {name: int(n) for name, n in zip(classes, counts, strict=True)},
        "mean_255": mean.tolist(),
        "std_255": deviation.tolist(),
        "mean": (mean / 255).tolist(),
        "std": (deviation / 255).tolist(),
    }


def render(card: Mapping[str, Any]) -> str:
    """Return the card as lines for a terminal, at most 100 columns wide where names allow."""
    parts = card["parts"]
    width = max(map(len, ["height, width, RGB", *card["classes"]])) + 2
    column = 26

    def row(title: str, values: list[str]) -> str:
        return f"  {title:<{width}}" + "".join(f"{value:>{column}}" for value in values)

    def channels(key: str, digits: int) -> list[str]:
        return ["  ".join(f"{x:.{digits}f}" for x in part[key]) for part in parts.values()]

    lines = [
        card["name"],
        row("", list(parts)),
        row("pictures", [f"{part['count']:,}" for part in parts.values()]),
        row("height, width, RGB", [" x ".join(map(str, p["shape"])) for p in parts.values()]),
        row("dtype", [part["dtype"] for part in parts.values()]),
        row("mean, 0..255", channels("mean_255", 3)),
        row("std, 0..255", channels("std_255", 3)),
        row("mean, 0..1", channels("mean", 4)),
        row("std, 0..1", channels("std", 4)),
        *(row(c, [f"{p['per_class'][c]:,}" for p in parts.values()]) for c in card["classes"]),
    ]
    if card["aliases"]:
        lines.append("  also: " + ", ".join(f"{a} = {c}" for a, c in card["aliases"].items()))
    return "\n".join([*lines, f"  source: {card['source']}", f"  sha256: {card['fingerprint']}"])
