"""A record of a benchmark: its spread, its ratio, and what must stand beside every figure."""

import json
import statistics

import pytest
import torch

from alexnet.benchmark.record import Row, Spread, keep, record, refuse_bad_path
from alexnet.errors import DataError, UsageError
from alexnet.reporting import speed
from alexnet.run.device import Device

CPU = Device(torch.device("cpu"), "float32")
SLOW = Row("slow", "pictures/s", Spread.of([4.0, 2.0, 3.0]))
FAST = Row("fast", "pictures/s", Spread.of([6.0, 6.0, 9.0, 5.0]), more={"agree": "100 %"})
GONE = Row("gone", "pictures/s", note="gone is not installed: pip install gone")


@pytest.fixture
def found():
    rows = [SLOW.over(SLOW), FAST.over(SLOW), GONE.over(SLOW)]
    return record(
        "try", rows, CPU, command="alexnet bench try", settings={"n": 3}, packages={"gone": "no"}
    )


def test_a_spread_is_that_of_its_values():
    values = [3.0, 1.0, 7.5, 2.0]
    spread = Spread.of(values)
    assert (spread.n, spread.min, spread.max) == (4, 1.0, 7.5)
    assert spread.median == statistics.median(values)
    assert spread.mean == statistics.mean(values)
    assert spread.deviation == statistics.stdev(values)
    assert Spread.of([2]).deviation == 0


def test_a_ratio_is_of_medians_and_of_what_was_measured():
    assert FAST.over(SLOW).ratio == 2.0
    assert SLOW.over(FAST).ratio == 0.5
    assert GONE.over(SLOW).ratio is None
    assert SLOW.over(GONE).ratio is None
    assert FAST.over(SLOW).beside == "slow"


def test_a_record_says_on_what_it_was_measured(found, tmp_path):
    path = keep(found, tmp_path / "new" / "try.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(found.to_json()))
    assert {"format", "suite", "command", "settings", "rows", "commit", "date"} <= kept.keys()
    assert kept["environment"]["threads"] == torch.get_num_threads()
    assert kept["environment"]["packages"]["torch"] == torch.__version__
    assert kept["environment"]["packages"]["gone"] == "no"
    assert kept["rows"][1]["measured"] == {"n": 4, "min": 5, "median": 6, "mean": 6.5, "max": 9} | {
        "deviation": 3**0.5
    }
    assert speed.read(path) == kept


def test_the_table_ends_with_the_ratio(found):
    lines = speed.text(found.to_json()).splitlines()
    assert "alexnet bench" not in lines[0]
    assert lines[2].split()[-1] == "ratio"
    assert [line.split()[-1] for line in lines[4:7]] == ["1.00", "2.00", "–"]
    assert lines[-1] == GONE.note


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *[(0.0, "0"), (1.619, "1.62"), (0.1239, "0.124"), (12.34, "12.3"), (1296.4, "1,296")],
        *[(3.2e-8, "3.20e-08"), (0.0123, "0.0123"), (4.5e12, "4.50e+12"), (-2.0, "-2.00")],
    ],
)
def test_figures(value, written):
    assert speed.figure(value) == written


@pytest.mark.parametrize("name", ["x.txt", "x", "folder.json"])
def test_a_name_that_no_record_can_have_is_refused(tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="--record"):
        refuse_bad_path(tmp_path / name)


@pytest.mark.parametrize("text", ["{", "[]", '{"suite": "step"}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json is not a record"):
        speed.read(tmp_path / "a.json")
