"""How far a tensor is from what a golden kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import formula
import numpy as np
from torch import Tensor

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def golden(name: str) -> dict[str, Any]:
    """Read ``tests/golden/keras-<name>.json``; ``tools/keras_golden.py`` writes it."""
    found: dict[str, Any] = json.loads((GOLDEN / f"keras-{name}.json").read_text(encoding="utf-8"))
    return found


def apart(found: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest expected number."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def far(tensor: Tensor, expected: formula.Summary) -> float:
    """Return how far a tensor is from its summary: the worst of norm, sum and the eight values."""
    found = formula.summary(tensor.detach().numpy())
    whole = [abs(found[k] - expected[k]) / expected["norm"] for k in ("norm", "scaled_sum")]
    return max(*whole, apart(found["values"], expected["values"]))
