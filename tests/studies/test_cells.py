"""Which runs a study is made of, and which of them are there."""

from __future__ import annotations

import json
import signal

import pytest

from alexnet import recipe
from alexnet.errors import (
    CheckpointError,
    Interrupted,
    NotFinite,
    RecipeError,
    UnknownName,
    UsageError,
)
from alexnet.studies import cells, plan
from alexnet.studies.running import Verbs, run_missing
from alexnet.training import guard

TEXT = """
name = "pools"
summary = "do overlapping pools help?"
recipe = "cifar10-quick"
seeds = [0, 1]
set = { evaluation.also = ["flip"] }

[[row]]
name = "plain"

[[row]]
name = "slow"
set = { optim.lr = 0.01 }

[[row]]
name = "centre"
of = "plain"
views = "flip"
"""


@pytest.fixture
def study():
    return plan.parse(TEXT)


def begin(cell, *, finished=False, changes=None):
    """Leave a folder as a run leaves it."""
    cell.folder.mkdir(parents=True)
    text = recipe.to_toml(recipe.override(cell.recipe, changes or {}))
    (cell.folder / "recipe.toml").write_text(text, encoding="utf-8")
    if finished:
        (cell.folder / "result.json").write_text("{}", encoding="utf-8")


def keys(found):
    return [(cell.row, cell.seed) for cell in found]


def test_a_seed_of_every_row_before_the_next_seed(study, tmp_path):
    every = cells.cells(study, tmp_path)
    assert keys(every) == [("plain", 0), ("slow", 0), ("plain", 1), ("slow", 1)]
    assert every[1].folder == tmp_path / "slow" / "seed-0"
    assert every[3].recipe.train.seed == 1


def test_runs_of_other_seeds_that_are_there_stay_part_of_the_study(study, tmp_path):
    (more, *_) = [c for c in cells.cells(study, tmp_path, seeds=[7]) if c.seed == 7]
    begin(more)
    assert ("plain", 7) in keys(cells.cells(study, tmp_path))


def test_what_is_asked_for(study, tmp_path):
    every = cells.cells(study, tmp_path, seeds=[5])
    assert keys(cells.chosen(study, every)) == [
        ("plain", 0), ("slow", 0), ("plain", 1), ("slow", 1)
    ]  # fmt: skip
    assert keys(cells.chosen(study, every, seeds=[5], only=["slow"])) == [("slow", 5)]
    assert keys(cells.chosen(study, every, seeds=[0], only=["centre"])) == [("plain", 0)]
    with pytest.raises(UnknownName, match="unknown row of pools 'slo'; did you mean 'slow'"):
        cells.chosen(study, every, only=["slo"])


def test_settings_that_do_not_fit_name_the_row(study, tmp_path):
    with pytest.raises(RecipeError, match=r"study pools, row slow: .*unknown key 'optim.rate'"):
        cells.cells(plan.parse(TEXT.replace("optim.lr", "optim.rate")), tmp_path)
    with pytest.raises(RecipeError, match=r"row plain: train.seed = 3 is set"):
        cells.cells(study, tmp_path, changes={"train.seed": 3})
    with pytest.raises(RecipeError, match=r"row centre: its runs are scored in .*, not in 'ten'"):
        cells.cells(plan.parse(TEXT.replace('views = "flip"', 'views = "ten"')), tmp_path)


def test_only_what_is_missing_is_run_and_what_is_begun_goes_on(study, tmp_path):
    every = cells.cells(study, tmp_path)
    begin(every[0], finished=True)
    begin(every[1])
    assert [c.progress() for c in every] == ["finished", "unfinished", "missing", "missing"]
    called = []
    verbs = Verbs(
        train=lambda r, folder: called.append(("train", r.train.seed, folder)),
        resume=lambda folder: called.append(("resume", folder)),
        say=lambda _: None,
        finished=lambda: called.append("written"),
    )
    assert run_missing(every, verbs, "alexnet study pools") == []
    trained = [("train", 1, c.folder) for c in every[2:]]
    assert called[::2] == [("resume", every[1].folder), *trained]
    assert called[1::2] == ["written"] * 3


def test_a_loss_that_is_no_number_ends_its_run_alone(study, tmp_path):
    every = cells.cells(study, tmp_path)

    def train(plan_, folder):
        if plan_.optim.lr == 0.01:
            raise NotFinite("the loss is nan at step 3")
        seen.append(folder)

    seen = []
    verbs = Verbs(train, seen.append, lambda _: None, lambda: None)
    failed = run_missing(every, verbs, "alexnet study pools")
    assert len(seen) == 2
    assert failed == [f"slow, seed {n}: the loss is nan at step 3" for n in (0, 1)]


def test_a_signal_at_the_end_of_a_run_begins_no_other(study, tmp_path):
    def train(*_):
        begun.append(1)
        raise guard.too_late(signal.SIGTERM, tmp_path / "a")

    begun = []
    verbs = Verbs(train, train, lambda _: None, lambda: None)
    with pytest.raises(Interrupted) as stopped:
        run_missing(cells.cells(study, tmp_path), verbs, "alexnet study pools")
    assert (stopped.value.exit_code, len(begun)) == (143, 1)
    said = (
        f"SIGTERM: the run was at its end and is finished; its result is in {tmp_path / 'a'}. Go on"
    )
    assert said in str(stopped.value)


def test_being_stopped_names_the_command_that_goes_on(study, tmp_path):
    def train(*_):
        raise Interrupted("SIGINT: saved at step 7. Go on with\n  alexnet resume x", 130)

    verbs = Verbs(train, train, lambda _: None, lambda: None)
    with pytest.raises(Interrupted) as stopped:
        run_missing(cells.cells(study, tmp_path), verbs, "alexnet study pools --seeds 0")
    assert str(stopped.value) == (
        "plain, seed 0: SIGINT: saved at step 7. Go on with the study by\n"
        "  alexnet study pools --seeds 0"
    )
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_another_recipe_is_not_taken_for_the_cell(study, tmp_path, finished):
    every = cells.cells(study, tmp_path)
    begin(every[1], finished=finished, changes={"optim.lr": 0.02, "train.epochs": "3 epochs"})
    with pytest.raises(UsageError) as refused:
        cells.refuse_others(every)
    said = str(refused.value)
    assert "optim.lr is 0.02 there and 0.01 in the study" in said
    assert "train.epochs is '3 epochs' there and" in said
    assert "momentum" not in said
    assert str(every[1].folder) in said


def test_prose_and_splits_that_the_data_settles_do_not_differ(tmp_path):
    auto = dict.fromkeys(("data.train", "data.validation", "data.test"), "auto")
    every = cells.cells(plan.parse(TEXT), tmp_path, changes=auto)
    found = {"data.train": "train[:80%]", "data.split": "stratified", "summary": "other words"}
    begin(every[0], changes=found)
    cells.refuse_others(every)
    begin(every[1], changes={"train.batch": 3})
    with pytest.raises(UsageError, match=r"train\.batch is 3 there"):
        cells.refuse_others(every)


def test_a_path_in_full_does_not_differ(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    every = cells.cells(study, tmp_path, changes={"data.name": "own/"})
    begin(every[0], changes={"data.name": str(tmp_path / "own")})
    cells.refuse_others(every)
    begin(every[1], changes={"data.name": str(tmp_path / "another")})
    with pytest.raises(
        UsageError, match=r"data\.name is '.*another' there and '.*own' in the study"
    ):
        cells.refuse_others(every)


def test_a_result_without_figures_is_named(study, tmp_path):
    (cell, *_) = cells.cells(study, tmp_path)
    begin(cell, finished=True)
    with pytest.raises(CheckpointError, match=r"result\.json has no .*test_views: it is damaged"):
        cell.result()
    (cell.folder / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"recipe\.toml is not UTF-8 text"):
        cells.refuse_others([cell])


def test_a_step_is_told_of_an_unfinished_run(study, tmp_path):
    (cell, *_) = cells.cells(study, tmp_path)
    begin(cell)
    lines = [json.dumps({"epoch": n, "step": 20 * n}) + "\n" for n in (1, 2)]
    (cell.folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    assert cell.progress() == "unfinished, step 40"
