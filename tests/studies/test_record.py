"""A study's record, worked out by hand from the records of its runs."""

from __future__ import annotations

import json

import pytest

from alexnet import recipe
from alexnet.studies import cells, plan
from alexnet.studies.record import record_of, write

TEXT = """
name = "pools"
summary = "do overlapping pools help?"
recipe = "cifar10-quick"
seeds = [0, 1]
views = "flip"
set = { evaluation.also = ["flip", "centre"] }

[[row]]
name = "plain"

[[row]]
name = "slow"
title = "a slow one"
set = { optim.lr = 0.01 }
published = { points = { top1 = -1.4 }, source = "somebody" }

[[row]]
name = "centre"
of = "plain"
views = "centre"
"""


def result(flip, centre):
    views = {
        name: {"count": 1000, "top": {"1": share, "3": share + 0.1}, "accuracy": share}
        for name, share in (("flip", flip), ("centre", centre))
    }
    return {
        "test_views": views,
        "speed": {
            "training_seconds": 30.0,
            "training_multiply_adds": 5,
            "share_of_matrix_rate": 0.5,
        },
        "commit": "abc",
        "date": "2026-11-25",
        "changed": {"optim.lr": 0.01},
        "environment": {"hardware": "two cores", "precision": "float32", "packages": {}},
    }


def finish(cell, found):
    cell.folder.mkdir(parents=True)
    (cell.folder / "recipe.toml").write_text(recipe.to_toml(cell.recipe), encoding="utf-8")
    (cell.folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture
def study():
    return plan.parse(TEXT)


def by_name(record):
    return {row["name"]: row for row in record["rows"]}


def test_rows_are_means_over_seeds_and_differences_of_pairs(study, tmp_path):
    every = cells.cells(study, tmp_path)
    shares = {("plain", 0): 0.70, ("plain", 1): 0.72, ("slow", 0): 0.69, ("slow", 1): 0.70}
    for cell in every:
        share = shares[cell.row, cell.seed]
        finish(cell, result(share, share - 0.02))
    record = record_of(study, every, command="alexnet study pools")
    plain, slow, centre = (by_name(record)[n] for n in ("plain", "slow", "centre"))
    assert plain["top"]["1"]["value"] == pytest.approx(0.71)
    assert plain["top"]["1"]["by_seed"] == {"0": 0.70, "1": 0.72}
    assert plain["top"]["1"]["difference"] is None
    assert slow["top"]["1"]["difference"]["value"] == pytest.approx(-0.015)
    half = 12.7062047 * 0.005  # t of one degree times the pairs' standard error
    expected = pytest.approx([-0.015 - half, -0.015 + half])
    assert slow["top"]["1"]["difference"]["interval"] == expected
    assert centre["top"]["3"]["value"] == pytest.approx(0.79)
    assert centre["top"]["1"]["difference"]["value"] == pytest.approx(-0.02)
    assert slow["published"]["points"] == {"top1": -1.4}
    assert (record["seconds"], record["missing"], len(record["cells"])) == (120.0, 0, 4)
    assert record["cells"][0]["precision"] == "float32"
    assert record["recipe"]["evaluation"]["also"] == ["flip", "centre"]


def test_a_study_half_done_has_what_there_is(study, tmp_path):
    every = cells.cells(study, tmp_path)
    finish(every[0], result(0.7, 0.6))
    record = record_of(study, every, command="alexnet study pools")
    rows = by_name(record)
    assert rows["slow"]["top"] == {}
    assert rows["plain"]["top"]["1"]["n"] == 1
    assert rows["centre"]["top"]["1"]["difference"]["n"] == 1
    assert record["missing"] == 3


def test_the_recipe_is_that_of_the_runs_of_a_base_row_that_trains_none(tmp_path):
    study = plan.parse(
        TEXT.replace("seeds = [0, 1]", 'seeds = [0, 1]\nbase = "centre"').replace(
            'name = "plain"', 'name = "plain"\nset = { optim.lr = 0.02 }'
        )
    )
    record = record_of(study, cells.cells(study, tmp_path), command="c")
    assert record["recipe"]["optim"]["lr"] == 0.02


def test_a_study_without_a_run(study, tmp_path):
    record = record_of(study, cells.cells(study, tmp_path), command="c", changes={"train.batch": 2})
    assert (record["environment"], record["seconds"], record["cells"]) == (None, 0, [])
    assert record["recipe"]["train"]["batch"] == 2
    assert all(row["top"] == {} for row in record["rows"])


def test_record_and_table_are_written_beside_the_runs(study, tmp_path):
    record = record_of(study, cells.cells(study, tmp_path), command="alexnet study pools")
    found, text = write(tmp_path, record, "a table")
    assert json.loads(found.read_text(encoding="utf-8")) == record
    assert (text.name, text.read_text(encoding="utf-8")) == ("study.md", "a table\n")
