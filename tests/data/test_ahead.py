"""Reading ahead: the same items in the same order, errors where they are due, a clean end."""

import threading
import time

import pytest

from alexnet.data.ahead import Ahead


def readers():
    return [t for t in threading.enumerate() if t.name == "read-ahead"]


def test_the_same_items_in_the_same_order():
    with Ahead(range(100), depth=3) as ahead:
        assert list(ahead) == list(range(100))
    assert not readers()


def test_no_more_than_the_depth_is_made_in_advance():
    made = []
    with Ahead((made.append(n) for n in range(100)), depth=2) as ahead:
        next(iter(ahead))
        time.sleep(0.2)
        assert len(made) <= 4  # one taken, two ready, one waiting for room


def test_an_error_is_raised_where_the_item_was_due():
    def items():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    seen = []

    def work():
        with Ahead(items()) as ahead:
            for item in ahead:
                seen.append(item)

    with pytest.raises(OSError, match="the disk is gone"):
        work()
    assert seen == [1, 2]
    assert not readers()


@pytest.mark.parametrize("fault", [None, KeyboardInterrupt, ValueError])
def test_leaving_ends_the_thread(fault):
    def leave():
        with Ahead(range(10**9), depth=2) as ahead:
            for item in ahead:
                if item == 5 and fault:
                    raise fault
                if item == 5:
                    break

    if fault:
        with pytest.raises(fault):
            leave()
    else:
        leave()
    assert not readers()


def test_waiting_is_measured_and_work_beside_it_is_not():
    def slow():
        for n in range(4):
            time.sleep(0.05)
            yield n

    with Ahead(slow()) as ahead:
        assert len(list(ahead)) == 4
    assert ahead.waited >= 0.15
    with Ahead(range(4)) as quick:
        for _ in quick:
            time.sleep(0.05)
    assert quick.waited < 0.1
