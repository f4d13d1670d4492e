"""Records kept of runs that ended and of runs that did not, and remarks on them."""

import json
from pathlib import Path

import pytest
from test_results import claim as claim_of
from test_results import record

from alexnet import built_in
from alexnet import recipe as recipes
from alexnet.errors import AlexNetError, CheckpointError, DataError, UsageError
from alexnet.reporting.claims import claims
from alexnet.reporting.effects import all_together
from alexnet.reporting.keeping import annotate, keep
from alexnet.reporting.marked import Table
from alexnet.reporting.recorded import summaries
from alexnet.reporting.results_page import STARS, page
from alexnet.reporting.unfinished import Unfinished, furthest, read_unfinished

WHY = "the GPU was wanted back"
REMARK = "trained beside another run"


def begin(
    folder: Path, name: str, epochs: int, *, validated: bool = True, **changes: object
) -> Path:
    """Write the folder of a run of 625 steps an epoch that stopped after some."""
    plan = recipes.override(recipes.load(name), changes)
    around = {"hardware": "x", "command": f"alexnet train {name}", "commit": "c", "computing": {}}
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipes.to_toml(plan), encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps(around), encoding="utf-8")
    for n in range(1, epochs + 1):
        line = {"epoch": n, "step": 625 * n, "seconds": 10.0 * n, "train_accuracy": n / 100}
        line |= {"val_accuracy": n / 200, "val_loss": 1 / n} if validated else {}
        with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return folder


def kept(folder: Path, *args, **keys) -> Unfinished:
    run = begin(folder / "run", *args, **keys)
    keep(run, folder / "records" / "unfinished" / "a.json", WHY)
    (found,) = read_unfinished(folder / "records")
    return found


# --- what is kept ----------------------------------------------------------------------------


def test_how_far_a_run_came_is_told_of_how_far_it_should(tmp_path):
    found = kept(tmp_path, "keras-lab", 6)
    assert found.far == "stopped after 6 of 10 epochs, validation accuracy 3.00 %"
    assert found.sentence == (
        "`keras-lab`, seed 0, stopped after 6 of 10 epochs, validation accuracy 3.00 %, in 1:00 on "
        "x: the GPU was wanted back."
    )
    whole = json.loads((tmp_path / "records/unfinished/a.json").read_text(encoding="utf-8"))
    assert whole["stopped"] == {"epoch": 6, "epochs": 10, "step": 3750, "steps": 6250, "why": WHY}
    assert whole["environment"] == {"hardware": "x"}
    assert (whole["command"], whole["commit"]) == ("alexnet train keras-lab", "c")
    assert len(whole["history"]) == 6
    assert "test" not in whole


def test_without_a_validation_split_the_training_pictures_are_told(tmp_path):
    found = kept(tmp_path, "torch-transfer", 7, validated=False, **{"train.epochs": "10 epochs"})
    assert found.title == "torch-transfer (train.epochs = 10 epochs)"
    assert found.far == "stopped after 7 of 10 epochs, training accuracy 7.00 %"


def test_the_last_validation_counts_where_not_every_epoch_has_one(tmp_path):
    run = begin(tmp_path / "run", "keras-lab", 2)
    with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "step": 1875, "seconds": 30.0, "train_accuracy": 0.9}\n')
    keep(run, tmp_path / "unfinished" / "a.json", WHY)
    (found,) = read_unfinished(tmp_path)
    assert (found.epoch, found.part, found.accuracy) == (3, "validation", 0.01)


def test_a_run_that_ended_is_kept_as_it_is(tmp_path):
    run = begin(tmp_path / "run", "keras-lab", 2)
    (run / "result.json").write_text('{"loss": 0.1, "names": ["왼쪽"]}', encoding="utf-8")
    path = keep(run, tmp_path / "records" / "a.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {"loss": 0.1, "names": ["왼쪽"]}
    for name, said in (
        ("unfinished/b.json", "has ended; keep it as"),
        ("a.json", "is there already"),
    ):
        with pytest.raises(UsageError, match=said):
            keep(run, tmp_path / "records" / name)
    with pytest.raises(UsageError, match="--why is for a run that did not"):
        keep(run, tmp_path / "records" / "b.json", WHY)


@pytest.mark.parametrize(
    ("epochs", "name", "why", "said"),
    [
        (2, "unfinished/a.json", "  ", "did not end: say --why, or go on with it, `alexnet resume"),
        (2, "a.json", WHY, r"a run that did not end is kept as .*unfinished.a\.json"),
        (2, "unfinished/a.txt", WHY, "a record is a JSON file"),
        (0, "unfinished/a.json", WHY, "has no whole epoch to tell of"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_written(tmp_path, epochs, name, why, said):
    run = begin(tmp_path / "run", "keras-lab", epochs)
    with pytest.raises(AlexNetError, match=said):
        keep(run, tmp_path / "records" / name, why)
    assert not (tmp_path / "records").exists()


def test_a_folder_without_a_run_and_one_without_its_machine(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no run: it has no recipe\.toml"):
        keep(tmp_path, tmp_path / "unfinished" / "a.json", WHY)
    run = begin(tmp_path / "run", "keras-lab", 2)
    (run / "environment.json").unlink()
    with pytest.raises(CheckpointError, match=r"environment\.json is missing"):
        keep(run, tmp_path / "unfinished" / "a.json", WHY)


@pytest.mark.parametrize(("key", "value"), [("history", []), ("stopped", {}), ("speed", None)])
def test_a_damaged_record_of_an_unfinished_run_is_named(tmp_path, key, value):
    kept(tmp_path, "keras-lab", 2)
    path = tmp_path / "records/unfinished/a.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**whole, key: value}), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json is not a record of a run that did not end"):
        read_unfinished(tmp_path / "records")
    path.write_text(json.dumps(record()), encoding="utf-8")
    with pytest.raises(DataError, match="it has no stopped"):
        read_unfinished(tmp_path / "records")


# --- what is told of it ----------------------------------------------------------------------


def test_a_claim_tells_the_runs_that_did_not_end(tmp_path):
    begun = kept(tmp_path, "keras-lab", 6)
    assert claim_of("keras-lab").word == "not run yet"
    found = next(c for c in claims([], [begun]) if c.name == "keras-lab")
    assert found.word == "not run to its end yet"
    assert begun.sentence in found.sentences
    assert "Not run to the end yet: `alexnet train keras-lab`" in found.text


def test_an_effect_tells_how_far_the_missing_run_came(tmp_path):
    begun = kept(tmp_path, "tf-sgd-as-published", 46)
    faults, known = built_in.tree("tf-sgd")["fault"], summaries([record("tf-sgd")])
    (told,) = all_together("tf-sgd", faults, known, [begun])
    assert told == (
        "all together: effect not measured to the end: `alexnet train tf-sgd-as-published` stopped "
        "after 46 of 50 epochs, validation accuracy 23.00 %"
    )
    ended = summaries([record("tf-sgd"), record("tf-sgd-as-published")])
    assert all_together("tf-sgd", faults, ended, [begun])[0].startswith(
        "all together: effect: +0.00"
    )


def test_the_furthest_of_several_seeds_is_told(tmp_path):
    found = [kept(tmp_path / str(n), "keras-lab", n) for n in (2, 6, 3)]
    other = {"train.epochs": "1 epochs"}
    assert furthest("keras-lab", {}, found) == found[1]
    assert furthest("keras-lab", other, found) is furthest("tf-sgd", {}, found) is None


def test_a_page_has_a_table_of_them_and_none_where_there_are_none(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(record("keras-lab")), encoding="utf-8")
    for text in (page(tmp_path).text, page(tmp_path).markdown, page(tmp_path).brief):
        assert "did not end" not in text
    keep(begin(tmp_path / "run", "keras-lab", 6), tmp_path / "unfinished" / "b.json", WHY)
    found = page(tmp_path)
    row = f"| keras-lab | 0 | 6 of 10 | validation 3.00 % | 1:00 | {WHY} | x |"
    assert row in found.markdown
    assert row in found.brief
    assert "Runs that did not end" in found.text
    assert found.to_json()["unfinished"][0]["epochs"] == "6 of 10"


# --- remarks ---------------------------------------------------------------------------------


def test_equal_remarks_have_one_mark_and_one_sentence():
    rows = [{"a": str(n), "training": f"{n} s"} for n in range(4)]
    table = Table(rows, ["", "one", "two", "one"])
    lines = table.markdown.splitlines()
    assert lines[2:6] == ["| 0 | 0 s |", "| 1 | 1 s [1] |", "| 2 | 2 s [2] |", "| 3 | 3 s [1] |"]
    assert lines[-2:] == ["[1] One.  ", "[2] Two."]
    assert table.text.splitlines()[-2:] == ["[1] One.", "[2] Two."]
    assert table.to_json()[1] == {"a": "1", "training": "1 s", "note": "one"}
    assert Table(rows[:1], [""]).markdown == "| a | training |\n| --- | --- |\n| 0 | 0 s |"
    assert table.starred.splitlines()[2:] == [
        "| 0 | 0 s |",
        *(f"| {n} | {n} s * |" for n in (1, 2, 3)),
    ]
    assert Table([], []).markdown == Table([], []).starred == ""


def test_the_short_page_stars_what_has_a_remark_and_says_where_it_stands(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record()), encoding="utf-8")
    assert STARS not in page(tmp_path).brief
    annotate(path, REMARK)
    assert page(tmp_path).brief.endswith(STARS)
    assert REMARK not in page(tmp_path).brief
    assert REMARK[1:] in page(tmp_path).markdown


def test_a_remark_goes_into_a_record_and_out_of_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record()), encoding="utf-8")
    annotate(path, f" {REMARK},\n  twice. ")
    assert json.loads(path.read_text(encoding="utf-8")) == record(note=f"{REMARK}, twice")
    annotate(path, "")
    assert json.loads(path.read_text(encoding="utf-8")) == record()


def test_a_remark_on_what_is_no_record_changes_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"recipe": "a"}', encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"a\.json is no record of a run or of `alexnet bench`"
    ):
        annotate(path, REMARK)
    assert path.read_text(encoding="utf-8") == '{"recipe": "a"}'
    for where, said in ((tmp_path, "holds no run"), (tmp_path / "b.json", "is missing or damaged")):
        with pytest.raises(CheckpointError, match=said):
            annotate(where, REMARK)


def test_a_remark_on_a_run_that_did_not_end_is_kept_with_it(tmp_path):
    annotate(begin(tmp_path / "run", "keras-lab", 6), REMARK)
    keep(tmp_path / "run", tmp_path / "unfinished" / "a.json", WHY)
    (found,) = read_unfinished(tmp_path)
    assert found.note == REMARK
    assert f"in 1:00 on x ({REMARK}): {WHY}." in found.sentence


def test_a_remark_on_some_seeds_says_on_which():
    def noted(*notes: str) -> str:
        every = [record(seed=n) | ({"note": note} if note else {}) for n, note in enumerate(notes)]
        return summaries(every)[0].note

    assert noted("one", "one") == "one"
    assert noted("", "one", "two") == "seed 1: one; seed 2: two"
    assert noted("", "") == ""


def test_a_claim_tells_a_time_with_its_remark():
    found = claim_of("torch-lrn", record("torch-lrn", note=REMARK))
    assert (
        f"training took 1:00 at 100 images/s on x ({REMARK}), the published program's" in found.text
    )
