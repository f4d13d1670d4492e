"""What a run holds in memory, part by part, in bytes and in words. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PARTS = {
    "program": "program",
    "weights": "weights",
    "copies": "bf16 copies of them",
    "average": "their running average",
    "gradients": "gradients",
    "optimiser": "momentum and the like",
    "activations": "activations",
    "pictures": "pictures of a batch",
    "data": "data",
    "products": "products of all training pictures",
}


@dataclass(frozen=True)
class Memory:
    """The parts of a training run's memory, in bytes, of this process, as they add up at its peak.

    ``activations`` are what a training step keeps for its backward pass; ``scoring`` is what a batch
    of the evaluation needs, when there are no gradients. ``data`` is what is held of the data set:
    on a CPU the files themselves (``mapped``), which the system lets go of where memory is short.
    ``program`` is what the process held before. ``free`` is what the device had left when the
    weights were there; None where the system does not tell. ``batch`` and ``scored`` count the
    pictures that a step and a batch of the evaluation have, of all processes together.
    """

    program: int
    weights: int
    copies: int
    average: int
    gradients: int
    optimiser: int
    activations: int
    scoring: int
    pictures: int
    data: int
    mapped: bool
    free: int | None
    batch: int
    scored: int
    products: int = 0  # of a kernel machine: of every two training pictures (training/ridge.py)
    replayed: bool = False

    @property
    def fixed(self) -> int:
        """Return what is needed yet, whatever the batch: all but program, weights and mapped data."""
        held = 0 if self.mapped else self.data
        return self.copies + self.average + self.optimiser + held

    @property
    def needed(self) -> int:
        """Return the bytes that the run still has to find, roughly."""
        step = self.gradients + self.activations + self.pictures + self.products
        both = step + self.scoring if self.replayed else max(step, self.scoring)
        return self.fixed + both

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "needed": self.needed}


def opening_text(memory: Memory) -> str:
    """Write the line about memory that stands before a run's first step."""
    free = "not told by this system" if memory.free is None else size(memory.free)
    parts = parts_text(memory.to_json())
    return f"memory: roughly {size(memory.needed)} more, free {free} ({parts})"


def record_text(found: Mapping[str, Any]) -> str:
    """Write what a finished run held at most, and what it was expected to hold."""
    return f"  memory: at most {size(found['peak'])}; expected: {parts_text(found)}"


def parts_text(found: Mapping[str, Any]) -> str:
    """Write the parts that there are: ``weights 233 MiB, gradients 233 MiB, ...``."""
    said = [f"{words} {size(found[part])}" for part, words in PARTS.items() if found.get(part)]
    if found.get("replayed"):  # older records do not say
        said.append(f"and scoring {size(found['scoring'])} beside")
    elif found["scoring"] > found["activations"] + found["gradients"]:
        said.append(f"but scoring needs {size(found['scoring'])} in place of activations")
    mapped = " (mapped: given back where memory is short)" if found["mapped"] else ""
    return ", ".join(said) + mapped


def size(count: int) -> str:
    """Write bytes for a person, in units of 1024: ``19 KiB``, ``233 MiB``, ``1.9 GiB``."""
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
