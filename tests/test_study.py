"""A study's record as tables and sentences, and the command that runs and shows it."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest

from alexnet import cli
from alexnet.errors import DataError
from alexnet.reporting import study as tables

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

TINY = """
name = "tiny"
summary = "is a small rate slower?"
recipe = "cifar10-quick"
seeds = [0]
[set]
data = { name = "shapes", train = "train[:40]", validation = "", test = "test[:40]" }
model = { network = "cuda-convnet-80sec" }
train = { batch = 20, epochs = "1 epochs", precision = "float32" }
evaluation.also = ["centre"]
[[row]]
name = "as-it-is"
[[row]]
name = "slow"
set = { optim.lr = 0.001 }
published = { points = { top1 = -4.0 }, source = "nobody" }
[[row]]
name = "one-view"
of = "as-it-is"
views = "centre"
"""


def figure(value, low, high, n=3, difference=None):
    how = "t over seeds" if n > 1 else "Wilson over the pictures of one run"
    return {"value": value, "interval": [low, high], "n": n, "how": how, "difference": difference}


def row(name, top, **more):
    base = None if name == "paper" else "paper"
    plain = {"base": base, "of": "", "views": None, "at": None, "published": None}
    return {"name": name, "title": name, "top": top, **plain, **more}


def record(*rows, grid=None, missing=0):
    cell = {"hardware": "two cores"}
    environment = {"precision": "float32", "packages": {"torch": "2.13.0"}}
    about = {"study": "pools", "summary": "do pools help?", "command": "alexnet study pools"}
    return {
        **about,
        "seeds": [0, 1, 2],
        "changes": {},
        "rows": list(rows),
        "grid": grid,
        "cells": [cell] * 6,
        "missing": missing,
        "environment": environment,
        "seconds": 125.0,
        "date": "2026-11-25",
    }


def gap(value, low, high):
    return {**figure(value, low, high), "how": "t over seeds in pairs"}


CLAIM = {"accuracy": {}, "points": {"top1": -1.4}, "note": "", "source": "s"}
BASE = row("paper", {"1": figure(0.7, 0.69, 0.71), "5": figure(0.95, 0.94, 0.96)})
WORSE = row(
    "no-lrn",
    {
        "1": figure(0.68, 0.66, 0.7, difference=gap(-0.02, -0.035, -0.005)),
        "5": figure(0.94, 0.93, 0.95, difference=gap(-0.01, -0.02, 0.0)),
    },
    published=CLAIM,
)


def test_a_line_has_mean_difference_intervals_and_what_was_published():
    found = tables.table(record(BASE, WORSE), "1")
    assert list(found[1].values()) == [
        *("no-lrn", "3", "68.00 %", "66.00 to 70.00", "-2.00", "paper", "-3.50 to -0.50", "-1.4")
    ]
    assert list(found[0].values()) == ["paper", "3", "70.00 %", "69.00 to 71.00", "", "", "", ""]
    assert tables.tops(record(BASE, WORSE)) == ["1", "5"]


def test_sentences_say_whether_zero_is_inside():
    (said,) = tables.sentences(record(BASE, WORSE))
    assert said == (
        "no-lrn: -2.00 points against paper, 95 % interval -3.50 to -0.50 (t over seeds in pairs, "
        "n = 3), which does not contain zero; -1.4 published, inside it."
    )
    other = copy.deepcopy(WORSE)
    other["top"]["1"]["difference"]["interval"] = [-0.01, 0.002]
    other["published"]["note"] = "of one run"
    (said,) = tables.sentences(record(BASE, other))
    assert "contains zero: no difference is shown; -1.4 published, outside it (of one run)." in said


def test_rows_without_runs_are_said_to_have_none():
    found = record(BASE, row("later", {}), missing=3)
    assert tables.table(found, "1")[1]["n"] == "0"
    assert tables.sentences(found) == ["later: not measured beside paper yet."]
    assert "6 runs, 3 more to run, 2:05 of training on two cores" in tables.text(found)
    nothing = {**record(row("paper", {}), missing=2), "cells": [], "environment": None}
    assert "No run is finished; `alexnet study pools --seeds 0,1,2` runs 2." in tables.markdown(
        nothing
    )


def test_every_machine_is_named_with_its_precision():
    """An older record has them of its first run alone."""
    found = record(BASE, WORSE)
    other = {"hardware": "a GPU", "precision": "bf16", "torch": "2.11.0"}
    found["cells"] = [*found["cells"], other]
    said = "of training on a GPU, bf16, torch 2.11.0 and two cores, float32, torch 2.13.0, by"
    assert said in tables.text(found)


def test_two_factors_are_a_grid_with_the_published_cells():
    def cell(name, at, value, claim=None):
        top = {"1": figure(value, 0, 1, 1), "3": figure(value + 0.1, 0, 1, 1)}
        published = {"accuracy": claim, "points": {}, "note": "", "source": "s"} if claim else None
        return row(name, top, at=at, published=published)

    found = record(
        cell("paper", ["no", "low"], 0.7, {"top1": 0.7865, "top3": 0.9483}),
        cell("b", ["no", "high"], 0.8),
        {**cell("c", ["yes", "low"], 0.6), "top": {}},
        grid={"rows": "skip", "columns": "epochs"},
    )
    assert tables.grid(found) == [
        {
            "skip \\ epochs": "no",
            "low": "70.00 % / 80.00 % (78.65 % / 94.83 % published)",
            "high": "80.00 % / 90.00 %",
        },
        {"skip \\ epochs": "yes", "low": "not run", "high": ""},
    ]
    assert "| no | 70.00 % / 80.00 % (78.65" in tables.markdown(found)


def test_a_file_that_is_no_record_is_named(tmp_path):
    file = tmp_path / "study.json"
    half = json.dumps({**record(BASE), "rows": [{"name": "x"}]})
    for content in ("{", "[]", '{"study": "x"}', half, json.dumps({**record(BASE), "rows": 3})):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"study\.json is not a record of a study"):
            tables.read(file)
    with pytest.raises(DataError, match="is not a record"):
        tables.read(tmp_path / "none.json")


def test_the_page_carries_the_recorded_studies(tmp_path):
    from update_studies import recorded, with_studies

    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    assert with_studies(page, recorded(ROOT / "results/studies")) == page, (
        "docs/studies.md is behind results/studies/; run python tools/update_studies.py"
    )
    (tmp_path / "pools.json").write_text(json.dumps(record(BASE, WORSE)), encoding="utf-8")
    assert tables.markdown(record(BASE, WORSE)) in with_studies(page, recorded(tmp_path))


def test_the_command_named_is_the_one_that_makes_all_runs():
    found = record(BASE, WORSE) | {"command": "alexnet study pools --seeds 2 --only paper -q"}
    assert "6 runs, 2:05 of training" in tables.text(found)
    assert "by `alexnet study pools --seeds 0,1,2` (" in tables.text(found)
    changes = {"train.epochs": "8 epochs", "train.batch": 32, "data.quiet": True}
    own = found | {"command": "alexnet study a/my.toml --only x", "changes": changes}
    assert tables.command_of(own) == (
        "alexnet study a/my.toml --seeds 0,1,2 --set 'train.epochs=8 epochs' --set train.batch=32 "
        "--set data.quiet=true"
    )


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def alexnet(monkeypatch, capsys, tmp_path, data_root):
    """Run the command line in this process, in a folder that holds tiny.toml."""
    monkeypatch.setenv("ALEXNET_DATA", str(data_root))
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY, encoding="utf-8")

    def run(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["alexnet", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert (end.value.code or 0) == status, said.err
        return said.out if not status else said.err

    return run


def test_a_study_from_its_first_run_to_its_table(alexnet):
    out = Path("runs/studies/tiny")
    alexnet("study", "tiny.toml", "--only", "as-it-is", "--quiet", "--device", "cpu")
    assert "1 more to run" in (out / "study.md").read_text(encoding="utf-8")
    first = (out / "as-it-is/seed-0/result.json").stat().st_mtime_ns

    found = json.loads(alexnet("study", "tiny.toml", "--json", "--quiet", "--device", "cpu"))
    assert (out / "as-it-is/seed-0/result.json").stat().st_mtime_ns == first, "it was run again"
    assert found["command"] == "alexnet study tiny.toml --json --quiet --device cpu"
    kept = json.loads((out / "as-it-is/seed-0/result.json").read_text(encoding="utf-8"))
    rows = {r["name"]: r["top"]["1"] for r in found["rows"]}
    assert rows["as-it-is"]["value"] == kept["test"]["accuracy"]
    assert rows["one-view"]["value"] == kept["test_views"]["centre"]["accuracy"]
    assert json.loads((out / "study.json").read_text(encoding="utf-8")) == found
    assert "slow" in alexnet("study", str(out / "study.json"))
    text = (out / "study.md").read_text(encoding="utf-8")
    assert alexnet("study", str(out / "study.json"), "--markdown") == text

    said = alexnet("study", "tiny.toml", "--set", "optim.lr=0.3", status=2)
    assert "there and 0.3 in the study" in said


def test_before_anything_is_run(alexnet):
    rows = json.loads(alexnet("study", "tiny.toml", "--dry-run", "--json", "--seeds", "4..5"))
    assert [r["changes"] for r in rows] == ["", "optim.lr = 0.001"] * 2
    assert [(r["row"], r["seed"], r["state"]) for r in rows] == [
        (name, seed, "missing") for seed in (4, 5) for name in ("as-it-is", "slow")
    ]
    assert not Path("runs").exists()
    names = {r["name"] for r in json.loads(alexnet("study", "--json"))}
    assert "paper-ablations" in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such"], "unknown study 'no-such'"),
        (["tiny.toml", "--seeds", "a"], "--seeds a: expected different seeds, e.g. 0..4 or 0,3,7"),
        (["tiny.toml", "--only", "slwo"], "unknown row of tiny 'slwo'; did you mean 'slow'"),
        (["tiny.toml", "--set", "optim.rate=1"], "unknown key 'optim.rate'"),
        (["other.toml"], "other.toml does not exist"),
    ],
)
def test_a_wrong_call_starts_nothing(alexnet, arguments, message):
    assert message in alexnet("study", *arguments, status=2)
    assert not Path("runs").exists()
