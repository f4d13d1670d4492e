"""A Keras summary, pasted from somewhere, against a network's own table. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from alexnet.errors import DataError
from alexnet.models import rows, table
from alexnet.models.table import Network

# Rows that a summary may name for themselves or not at all, and that change no count or shape.
SILENT = ("Activation", "ReLU", "GELU", "Softmax", "InputLayer")
# Our kinds of row by the names that Keras has for them, where it has another.
_KERAS = {"AdaptiveAvgPool": "AdaptiveAveragePooling2D"}
_LAYER = re.compile(
    r"(?P<name>\S+)\s*\((?P<kind>\w+)\)?\s+\[?\((?P<shape>None[^)]*)\)\]?\s+(?P<count>[\d,]+)(?P<cut>…?)"
)
_TOTALS = {
    "total": re.compile(r"^\W*Total params:\s*([\d,]+)", re.MULTILINE),
    "trainable": re.compile(r"^\W*Trainable params:\s*([\d,]+)", re.MULTILINE),
    "non-trainable": re.compile(r"^\W*Non-trainable params:\s*([\d,]+)", re.MULTILINE),
}


@dataclass(frozen=True)
class Line:
    """One layer of a summary: its type, its output without the batch, its parameters.

    ``cut``: the column was too narrow for the number, and ``count`` is only its first digits.
    """

    kind: str
    shape: tuple[int, ...]
    count: int
    cut: bool = False

    def __str__(self) -> str:
        shape = ", ".join(map(str, ("None", *self.shape)))
        return f"{self.kind} ({shape}) {self.count:,}{'…' * self.cut}"

    def fits(self, whole: Line) -> bool:
        """Say whether shape and count are those of ``whole``, as far as they can be read."""
        digits, theirs = str(whole.count), str(self.count)
        return (
            self.shape == whole.shape and (digits[: len(theirs)] if self.cut else digits) == theirs
        )


@dataclass(frozen=True)
class Summary:
    """A summary's layers from top to bottom, and those totals that it states."""

    layers: tuple[Line, ...]
    totals: dict[str, int]


@dataclass(frozen=True)
class Verdict:
    """Where a pasted summary differs from a network: a line a difference; none: it matches."""

    network: str
    layers: int
    differences: tuple[str, ...]

    def __str__(self) -> str:
        if not self.differences:
            return f"the table matches {self.network}: {self.layers} layers, shapes, parameters, totals"
        head = f"the table differs from {self.network} in {len(self.differences)} places (theirs / ours):"
        return "\n".join([head, *(f"  {line}" for line in self.differences)])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "network": self.network,
            "matches": not self.differences,
            "differences": list(self.differences),
        }


def check(path: Path, network: Network, size: int | None = None) -> Verdict:
    """Compare the Keras summary in a text file with a network's table.

    Layers are compared by type, output shape and parameters, in order; names are free, and rows
    that are only an activation or the input count for nothing. Raises ``DataError`` for a file that
    cannot be read or holds no summary.
    """
    try:
        theirs = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not theirs.layers:
        raise DataError(
            f"{path} holds no Keras summary: no line like 'conv2d (Conv2D)  (None, 55, 55, 96)  34944'"
        )
    ours = summary_of(network, size)
    found = (*_layers_apart(theirs.layers, ours.layers), *_totals_apart(theirs, ours))
    return Verdict(network.name, len(ours.layers), found)


def parse(text: str) -> Summary:
    """Read a summary as Keras 2 or 3 prints it, cells that were wrapped included."""
    matches = (_LAYER.search(row) for row in _rows(text))
    layers = tuple(
        Line(m["kind"], _numbers(m["shape"]), int(m["count"].replace(",", "")), bool(m["cut"]))
        for m in matches
        if m and m["kind"] not in SILENT
    )
    stated = {name: pattern.search(text) for name, pattern in _TOTALS.items()}
    return Summary(layers, {k: int(m[1].replace(",", "")) for k, m in stated.items() if m})


def _rows(text: str) -> Iterator[str]:
    """Yield one line a layer; the cells of a table with rules are joined between two rules."""
    cells: list[str] = []
    for line in text.splitlines():
        if "│" not in line:
            yield " ".join(cells)
            cells = []
            yield line
            continue
        parts = [part.strip() for part in line.strip().strip("│").split("│")]
        longer = max(len(parts), len(cells))
        old, new = (x + [""] * (longer - len(x)) for x in (cells, parts))
        cells = [f"{a} {b}".strip() for a, b in zip(old, new, strict=True)]
    yield " ".join(cells)


def _numbers(shape: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", shape))


def summary_of(network: Network, size: int | None = None) -> Summary:
    """Return a network's table as Keras would count it. Raises ``TooSmall``."""
    steps = table.trace(network, size)
    total = table.totals(steps)
    layers = tuple(
        Line(
            _KERAS.get(step.row.kind, step.row.kind),
            step.outputs[1:] + step.outputs[:1],
            step.parameters + step.buffers,
        )
        for step in steps
        if not isinstance(step.row, rows.ReLU | rows.GELU)
    )
    counts = {
        "total": total.parameters,
        "trainable": total.trainable,
        "non-trainable": total.buffers,
    }
    return Summary(layers, counts)


def _layers_apart(theirs: Sequence[Line], ours: Sequence[Line]) -> Iterator[str]:
    kinds = [_kind(line, ours) for line in theirs], [line.kind for line in ours]
    for tag, a, b, c, d in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        if tag == "equal":
            for n, (x, y) in enumerate(zip(theirs[a:b], ours[c:d], strict=True), a + 1):
                if not x.fits(y):
                    yield f"layer {n}: {x} / {y}"
            continue
        yield from (f"layer {n}: {x} / absent" for n, x in enumerate(theirs[a:b], a + 1))
        yield from (f"after layer {a}: absent / {y}" for y in ours[c:d])


def _kind(line: Line, ours: Sequence[Line]) -> str:
    """Complete a type that Keras 2 cut off: ``BatchN`` is ``BatchNormalization``."""
    whole = [
        other.kind for other in ours if len(line.kind) > 3 and other.kind.startswith(line.kind)
    ]
    return whole[0] if whole else line.kind


def _totals_apart(theirs: Summary, ours: Summary) -> Iterator[str]:
    for name, count in theirs.totals.items():
        if count != ours.totals[name]:
            yield f"{name} parameters: {count:,} / {ours.totals[name]:,}"
