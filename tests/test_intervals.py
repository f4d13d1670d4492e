"""Intervals against the values that their authors printed."""

import pytest

from alexnet.intervals import newcombe, wilson


def test_wilson_interval_has_the_published_value():
    # Brown, Cai & DasGupta (2001): 95 % Wilson interval of 10 out of 20 and of 0 out of 10.
    assert wilson(10, 20) == pytest.approx((0.29930, 0.70070), abs=1e-4)
    low, high = wilson(0, 10)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(0.27753, abs=1e-4)


def test_a_difference_has_the_published_interval():
    # Newcombe (1998), table II, method 10: 56 of 70 against 48 of 80, 0 of 10 against 0 of 20.
    assert newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe((0, 10), (0, 20)) == pytest.approx((-0.1611, 0.2775), abs=5e-5)


def test_a_difference_changes_sign_with_its_order():
    low, high = newcombe((700, 1000), (300, 500))
    assert newcombe((300, 500), (700, 1000)) == pytest.approx((-high, -low))
