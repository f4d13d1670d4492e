"""The golden loss curve: unchanged mathematics gives the same fifty losses."""

from __future__ import annotations

import json
from pathlib import Path

import curve_2012
import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "curve-2012.json"


def test_fifty_steps_of_the_training_of_2012():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert curve_2012.losses() == pytest.approx(golden["losses"], rel=golden["tolerance"])


def test_the_curve_is_worth_comparing():
    """It learns, and float32 stays so close to float64 that the tolerance is not chance."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(golden["losses"]) == 50
    assert sum(golden["losses"][-5:]) < 0.8 * sum(golden["losses"][:5])
    assert golden["apart from float64"] < golden["tolerance"] / 10
