"""Intervals against SciPy's Student t, a paired t interval, and published worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alexnet.studies.estimates import difference, mean, newcombe, next_of, t_quantile

SHARES = st.lists(st.floats(0.05, 0.95), min_size=2, max_size=8)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 101])
def test_t_as_scipy_has_it(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-11)


def test_where_one_more_value_would_lie():
    """95 of 100 draws of four values hold a fifth one."""
    draws = np.random.default_rng(0).normal(0.7, 0.01, (4000, 5))
    inside = [low <= row[4] <= high for row in draws for low, high in [next_of(list(row[:4]))]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


@given(SHARES)
def test_a_mean_over_seeds_is_scipys_interval(shares):
    found = mean(dict(enumerate(shares)), 1000)
    assert found.value == pytest.approx(np.mean(shares))
    error = stats.sem(shares)
    if error > 1e-9:
        expected = stats.t.interval(0.95, len(shares) - 1, np.mean(shares), error)
        assert found.interval == pytest.approx(np.clip(expected, 0, 1))
    assert (found.n, found.how) == (len(shares), "t over seeds")


def test_one_run_has_the_interval_of_its_pictures_and_says_so():
    found = mean({7: 81 / 263}, 263)  # Newcombe (1998), Stat. Med. 17: 857-872, table I: method 3
    assert found.interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (found.n, found.how) == (1, "Wilson over the pictures of one run")


def test_seeds_are_paired_whatever_their_order():
    row, base = {2: 0.72, 0: 0.70, 1: 0.71, 9: 0.1}, {0: 0.69, 1: 0.695, 2: 0.70, 5: 0.9}
    found = difference(row, base, 500)
    paired = stats.ttest_rel([0.70, 0.71, 0.72], [0.69, 0.695, 0.70]).confidence_interval()
    assert found is not None
    assert found.interval == pytest.approx((paired.low, paired.high))
    assert (found.n, found.how) == (3, "t over seeds in pairs")
    assert found.value == pytest.approx(0.015)


def test_one_pair_and_none():
    one = difference({0: 0.5, 1: 0.6}, {1: 0.55, 2: 0.5}, 100)
    assert one is not None
    assert (one.n, one.how) == (1, "Newcombe over the pictures of one run each")
    assert one.interval[0] < 0.05 < one.interval[1]
    assert difference({0: 0.5}, {1: 0.5}, 100) is None
    assert difference({}, {1: 0.5}, 0) is None


def test_newcombes_own_example():
    """56/70 against 48/80, method 10 (Newcombe 1998, Stat. Med. 17: 873-890, table II, a)."""
    assert newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_no_interval_of_a_share_leaves_what_a_share_can_be():
    assert mean({0: 0.94, 1: 0.96}, 3925).interval[1] == 1.0
    assert mean({0: 0.02, 1: 0.05}, 3925).interval[0] == 0.0
