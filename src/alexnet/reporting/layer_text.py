"""What a network's rows are set to, and how their sizes come about. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from alexnet.models import rows, table
from alexnet.models.rows import Row
from alexnet.models.table import Network, Traced
from alexnet.reporting.text import summary_table

NAMES = ("name", "reads", "other")  # of rows: what a row is connected to is no setting of it
ABREAST = 5  # names in a line, so that it fits a terminal
IN_THE_SHAPE = ("channels", "units")
WORDS: dict[tuple[str, Any], str] = {  # of a value; empty where nothing needs to be said
    ("padding", 0): "",
    ("groups", 1): "",
    ("towers", 1): "",
    ("ceil", True): "rounded up",
    ("bias", False): "no bias",
    ("whitening", True): "filters that whiten",
    ("unbiased", False): "biased running variance",
    ("scale", False): "scale fixed at 1",
    ("classic", True): "in a test times 1 - p",
}
ALPHA = (
    "An LRN's alpha is divided by its size before it multiplies the sum of squares, as in torch, Caffe\n"
    "and the program of 2012; the paper does not divide: its 0.0001 is 0.0005 here, of size 5."
)


def settings(row: Row) -> dict[str, Any]:
    """Return what a row is set to, by the names of ``models.rows``: a kernel, a stride, a rate."""
    every = (setting.name for setting in fields(row) if setting.name not in NAMES)
    return {name: getattr(row, name) for name in every}


def settings_text(network: Network) -> str:
    """Write what each row is set to, those that are set alike in one line; channels are in the table."""
    alike: dict[str, list[str]] = {}
    for row in network.rows:
        if words := _in_words(row):
            alike.setdefault(words, []).append(row.name)
    lines = [
        {"Layers": ", ".join(names[i : i + ABREAST]), "Settings": "" if i else words}
        for words, names in alike.items()
        for i in range(0, len(names), ABREAST)
    ]
    told = any(isinstance(row, rows.LRN) for row in network.rows)
    return summary_table(lines) + (f"\n\n{ALPHA}" if told else "")


def _in_words(row: Row) -> str:
    return ", ".join(filter(None, (_said(*setting) for setting in settings(row).items())))


def _said(name: str, value: Any) -> str:
    if isinstance(value, bool) or (name, value) in WORDS:
        return WORDS.get((name, value), "")
    if name in IN_THE_SHAPE:
        return ""
    return f"{value}x{value}" if name == "kernel" else f"{name} {value:g}"


def sums_text(network: Network, size: int | None = None) -> str:
    """Write the arithmetic of every size, one line for each layer that changes it."""
    lines = [
        f"  {s.row.name:8} {arithmetic(s)}" for s in table.trace(network, size) if arithmetic(s)
    ]
    side = network.size if size is None else size
    return "\n".join([f"How a picture of {side}x{side} shrinks, along one side:", *lines])


def arithmetic(step: Traced) -> str:
    """Spell out how a row's size, or the number of its parameters, comes about; empty where it is plain."""
    if isinstance(step.row, rows.Window):
        return step.row.sum_in_words(step.inputs[1])
    if isinstance(step.row, rows.Flatten):
        return f"{' x '.join(map(str, step.inputs))} = {step.outputs[0]}"
    if isinstance(step.row, rows.Dense):
        return f"({step.inputs[0]}{'+1' if step.row.bias else ''}) x {step.outputs[0]} = {step.parameters:,} parameters"
    return ""
