"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


def changes_of(assigned: Sequence[str], seed: int | None) -> dict[str, Any]:
    """Read what ``--set`` and ``--seed`` change of a recipe. Raises ``UsageError`` where they differ."""
    from alexnet.recipe import parse_assignment

    found = dict(map(parse_assignment, assigned))
    if seed is not None and found.setdefault("train.seed", seed) != seed:
        raise UsageError(
            f"--seed {seed}, but --set train.seed={found['train.seed']}; give one of them"
        )
    return found
