"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from alexnet.calling import Option
from alexnet.errors import UsageError

Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
DeviceName = Annotated[str, Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    str,
    Option(
        "--precision",
        help="auto, bf16, tf32 or float32. By auto a run's model has its own, where the device can.",
    ),
]
Root = Annotated[
    Path | None,
    Option("--data", metavar="DIR", help="Where data sets are kept. [env: ALEXNET_DATA]"),
]
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def seeds_of(text: str) -> list[int]:
    """Read ``0..4`` or ``0,3,7``: different numbers, none below 0. Raises ``UsageError``."""
    if match := _RANGE.fullmatch(text.strip()):
        found = list(range(int(match[1]), int(match[2]) + 1))
    else:
        parts = [part.strip() for part in text.split(",")]
        found = [int(part) for part in parts if part.isdecimal()]
        found = found if len(found) == len(parts) else []
    if not found or len(set(found)) < len(found):
        raise UsageError(f"--seeds {text}: expected different seeds, e.g. 0..4 or 0,3,7")
    return found


def changes_of(assigned: Sequence[str], besides: Mapping[str, Any]) -> dict[str, Any]:
    """Read what ``--set`` changes of a recipe, and what is given ``besides``, by key; None: not given.

    Raises ``UsageError`` where they differ.
    """
    from alexnet.recipe import parse_assignment

    found = dict(map(parse_assignment, assigned))
    for key, value in besides.items():
        if value is not None and found.setdefault(key, value) != value:
            raise UsageError(
                f"{key} is to be {value}, but --set {key}={found[key]}; give one of them"
            )
    return found
