"""The table of recorded runs: from the records alone, and the README carries it."""

import json
import sys
from pathlib import Path

import pytest

from alexnet.errors import DataError
from alexnet.reporting.results import collect, markdown_table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))


def record(recipe="a", seed=0, accuracy=0.9, seconds=60.0, hardware="x", changed=None, **more):
    speed = {
        "training_seconds": seconds,
        "images_per_second": 100.0,
        "training_multiply_adds": 2.5e12,
        "share_of_matrix_rate": 0.5,
    }
    return {
        "recipe": recipe,
        "seed": seed,
        "changed": changed or {},
        "test": {"accuracy": accuracy},
        "speed": speed,
        "environment": {"hardware": hardware},
        "verdict": None,
        **more,
    }


def write(folder, *records):
    for n, values in enumerate(records):
        (folder / f"{n}.json").write_text(json.dumps(values), encoding="utf-8")


def test_seeds_are_one_row_with_mean_and_spread(tmp_path):
    write(tmp_path, record(accuracy=0.90), record(accuracy=0.91, seed=1, seconds=80.0))
    (row,) = collect(tmp_path)
    assert row["test top-1"] == "90.50 ± 0.71 %"
    assert row["n"] == "2"
    assert row["training"] == "1:10"


def test_other_machines_and_changed_recipes_are_rows_of_their_own(tmp_path):
    changed = record(changed={"train.epochs": "1 epochs"})
    write(tmp_path, record(), record(hardware="y"), changed, record(recipe="b"))
    rows = collect(tmp_path)
    assert [row["recipe"] for row in rows] == ["a", "a", "a (train.epochs = 1 epochs)", "b"]


def test_the_published_number_stands_beside(tmp_path):
    write(tmp_path, record(verdict={"published": 0.7081}))
    assert collect(tmp_path)[0]["published"] == "70.81 %"


def test_markdown_has_a_line_for_each_row(tmp_path):
    write(tmp_path, record(), record(recipe="b"))
    lines = markdown_table(collect(tmp_path)).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {10}


def test_a_folder_without_records_and_a_file_that_is_none_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no record"):
        collect(tmp_path)
    (tmp_path / "x.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json is not a record"):
        collect(tmp_path)
    (tmp_path / "x.json").write_text('{"recipe": "a"}', encoding="utf-8")
    with pytest.raises(DataError, match="it has no changed, environment, seed, speed, test"):
        collect(tmp_path)


def test_the_readme_carries_the_table_of_the_recorded_runs():
    from update_results import with_table

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme, markdown_table(collect(ROOT / "results"))) == readme, (
        "README.md is behind results/; run python tools/update_results.py"
    )
