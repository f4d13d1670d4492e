"""What a data set is, counted and measured: as plain values, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet.data.cache import Dataset, Pictures
from alexnet.data.photos import report_text
from alexnet.data.photos.listing import some

_CHUNK = 4_000_000  # bytes of pixels at a time; their float64 copy takes eight times as much


def card(dataset: Dataset) -> dict[str, Any]:
    """Describe ``dataset`` in JSON-able values.

    For each part: count, shape of a picture (H, W, C), dtype, count per class, and the mean and
    the standard deviation (of all pixels, dividing by their number) of R, G and B on 0..255 and on
    0..1. Takes about a second for 60,000 pictures of 32x32. Of photographs, also what their intake
    found (``report.build``), which has the sums already.
    """
    report = dataset.report()
    told = report["parts"] if report else {}
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "aliases": dict(dataset.aliases),
        "parts": {
            name: _describe(part, dataset.classes, told.get(name))
            for name, part in dataset.parts.items()
        },
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        **({"intake": report} if report else {}),
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


def _from_sums(told: Mapping[str, Any], part: Pictures) -> tuple[np.ndarray, np.ndarray]:
    count = part.images.size // 3
    mean, squares = (np.array(told[key]) / count for key in ("sums", "squares"))
    return mean, np.sqrt(squares - mean**2)


def _describe(
    part: Pictures, classes: tuple[str, ...], told: Mapping[str, Any] | None
) -> dict[str, Any]:
    mean, deviation = _from_sums(told, part) if told else channel_statistics(part.images)
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
    labels = [] if "intake" in card else card["classes"]
    width = max(map(len, ["height, width, RGB", *labels])) + 2
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
    ]
    if "intake" in card:
        lines += ["", report_text.render(card["intake"]), ""]
    else:
        lines += [
            row(c, [f"{p['per_class'][c]:,}" for p in parts.values()]) for c in card["classes"]
        ]
    if card["aliases"]:
        pairs = [f"{alias} = {label}" for alias, label in card["aliases"].items()]
        lines.append(f"  also: {some(pairs, 20)}")
    return "\n".join([*lines, f"  source: {card['source']}", f"  sha256: {card['fingerprint']}"])
