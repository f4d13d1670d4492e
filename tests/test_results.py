"""The table of recorded runs: from the records alone, and the README carries it."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from alexnet import built_in
from alexnet import recipe as recipes
from alexnet.errors import DataError
from alexnet.reporting.claims import Claim, claims
from alexnet.reporting.effects import all_together, effect_of
from alexnet.reporting.recorded import Recorded, packaged, read_records, summaries
from alexnet.reporting.results import full_rows, short_rows, verdict, view_rows
from alexnet.reporting.results_page import page
from alexnet.reporting.text import markdown_table
from alexnet.reporting.unfinished import packaged_unfinished, read_unfinished

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))


def record(recipe="a", seed=0, accuracy=0.9, seconds=60.0, hardware="x", changed=None, **more):
    speed = {
        "training_seconds": seconds,
        "pictures": 400_000,
        "images_per_second": 100.0,
        "training_multiply_adds": 2.5e12,
        "share_of_matrix_rate": 0.5,
    }
    return {
        "recipe": recipe,
        "seed": seed,
        "changed": changed or {},
        "test": {"accuracy": accuracy, "count": 10_000, "loss": 1.0, "top": {"3": 0.97}},
        "speed": speed,
        "environment": {"hardware": hardware},
        "verdict": None,
        "history": [{"epoch": n + 1, "val_accuracy": 0.5} for n in range(10)],
        **more,
    }


def collect(folder):
    return short_rows(read_records(folder))


def write(folder, *records):
    for n, values in enumerate(records):
        (folder / f"{n}.json").write_text(json.dumps(values), encoding="utf-8")


def test_seeds_are_one_row_with_mean_and_spread(tmp_path):
    write(tmp_path, record(accuracy=0.90), record(accuracy=0.91, seed=1, seconds=80.0))
    (row,) = collect(tmp_path)
    assert row["test top-1"] == "90.50 ± 0.71 %"
    assert row["n"] == "2"
    assert row["training"] == "1:10"


def test_top_1_is_what_the_confusion_matrix_says(tmp_path):
    """Once equal answers counted as wrong in the accuracy, and by their order in the matrix."""
    matrix = [[4, 1], [2, 3]]
    found = {"count": 10, "accuracy": 0.6, "top": {"1": 0.6, "2": 1.0}, "confusion": matrix}
    write(tmp_path, record(test=found, test_views={"centre": found, "flip": {"accuracy": 0.5}}))
    (read,) = read_records(tmp_path)
    for scores in (read["test"], read["test_views"]["centre"]):
        assert scores["accuracy"] == scores["top"]["1"] == 0.7
        assert scores["top"]["2"] == 1.0
    assert read["test_views"]["flip"]["accuracy"] == 0.5


def test_runs_in_another_precision_are_a_row_of_their_own(tmp_path):
    other = {"environment": {"hardware": "x", "precision": "float32"}}
    write(tmp_path, record(), record(seed=1, **other))
    assert [row["precision"] for row in collect(tmp_path)] == ["", "float32"]
    assert [row["precision"] for row in full_rows(summaries(read_records(tmp_path)))] == [
        "",
        "float32",
    ]


def test_a_run_of_two_machines_is_not_a_run_of_the_last_one(tmp_path):
    parts = [{"hardware": "y", "precision": "bf16"}, {"hardware": "x", "precision": "bf16"}]
    write(tmp_path, record(machines=parts), record(seed=1))
    rows = full_rows(summaries(read_records(tmp_path)))
    assert {(row["hardware"], row["precision"]) for row in rows} == {("x", ""), ("y and x", "bf16")}


def test_what_falls_short_in_top3_alone_says_so():
    test = {"accuracy": 0.8620, "count": 10_000, "loss": 1.0, "top": {"3": 0.9547}}
    found = summaries([record("torch-transfer", test=test)])
    assert full_rows(found)[0]["verdict"] == "not met: top-3 95.47 %, published 96.83 %"
    low = {**test, "accuracy": 0.80}
    assert full_rows(summaries([record("torch-transfer", test=low)]))[0]["verdict"] == "not met"
    good = {**test, "top": {"3": 0.97}}
    assert full_rows(summaries([record("torch-transfer", test=good)]))[0]["verdict"] == "beaten"


def test_other_machines_and_changed_recipes_are_rows_of_their_own(tmp_path):
    changed = record(changed={"train.epochs": "1 epochs"})
    write(tmp_path, record(), record(hardware="y"), changed, record(recipe="b"))
    rows = collect(tmp_path)
    assert [row["recipe"] for row in rows] == ["a", "a", "a (train.epochs = 1 epochs)", "b"]


def of(name, changes=None, *, seed=0, **more):
    """A record that holds its settings: of the recipe ``name`` as it is, or with keys changed."""
    plan = recipes.override(recipes.load(name), {**(changes or {}), "train.seed": seed})
    told = recipes.changes(plan)
    return record(name, seed, changed=told, settings=recipes.to_tree(plan), **more)


def rows_of(tmp_path, *records):
    write(tmp_path, *records)
    return [(row["recipe"], row["n"]) for row in collect(tmp_path)]


def test_seed_precision_and_what_is_only_told_make_no_row_of_their_own(tmp_path):
    told = of("keras-lab", {"train.precision": "float32", "checkpoint.every": "3 epochs"}, seed=2)
    told["settings"]["summary"] = told["settings"]["published"]["claim"] = "told in other words"
    assert rows_of(tmp_path, of("keras-lab"), told) == [("keras-lab", "2")]


def test_a_recipe_that_was_changed_since_is_a_row_of_its_own_with_what_it_was(tmp_path):
    old = of("keras-lab", {"optim.lr": 0.002, "train.epochs": "4 epochs"}, seed=1)
    old["changed"] = {}  # as it was told on the day of the run
    now, then = rows_of(tmp_path, of("keras-lab"), old)
    assert now == ("keras-lab", "1")
    assert then == ("keras-lab (optim.lr = 0.002, train.epochs = 4 epochs)", "1")
    (runs,) = [runs for runs in summaries(read_records(tmp_path)) if runs.changed]
    assert verdict(runs) == "another protocol"


def test_a_run_changed_to_what_the_recipe_is_now_is_one_of_its_runs(tmp_path):
    ahead = of("keras-lab", seed=1)
    ahead["changed"] = {"optim.lr": ahead["settings"]["optim"]["lr"]}
    assert rows_of(tmp_path, of("keras-lab"), ahead) == [("keras-lab", "2")]


def test_a_way_of_looking_that_only_some_seeds_were_scored_in_is_a_row_of_its_own(tmp_path):
    one, other = of("keras-lab"), of("keras-lab", {"evaluation.also": ["flip"]}, seed=1)
    for each in (one, other):
        each["test"]["views"] = "centre"
    other["test_views"] = {"centre": other["test"], "flip": other["test"]}
    write(tmp_path, one, other)
    rows = view_rows(read_records(tmp_path))
    assert [(row["views"], row["n"]) for row in rows] == [("centre", "2"), ("flip", "1")]


def test_a_key_that_came_later_is_read_as_its_default(tmp_path):
    old = of("keras-lab", seed=1)
    del old["settings"]["train"]["graph"]
    assert rows_of(tmp_path, of("keras-lab"), old) == [("keras-lab", "2")]


def test_a_key_that_is_no_more_is_told_by_the_commit_that_had_it(tmp_path):
    old = [of("keras-lab", seed=seed, commit="abc1234") for seed in (1, 2)]
    for each in old:
        each["settings"]["train"]["luck"] = "much"
    expected = [("keras-lab", "1"), ("keras-lab (commit = abc1234)", "2")]
    assert rows_of(tmp_path, of("keras-lab"), *old) == expected


def test_two_recipes_of_somebodys_own_are_not_taken_together_for_their_name(tmp_path):
    one, other = of("cifar10-quick"), of("cifar10-quick", {"optim.lr": 0.1}, seed=1)
    for each in (one, other):
        each["recipe"], each["changed"] = "mine", {}
        each["settings"]["name"] = "mine"
    assert rows_of(tmp_path, one, other) == [("mine", "1"), ("mine", "1")]


def test_the_published_number_stands_beside(tmp_path):
    write(tmp_path, record(verdict={"published": 0.7081}))
    assert collect(tmp_path)[0]["published"] == "70.81 %"


def test_a_bar_in_a_cell_ends_no_column():
    rows = [{"made by": "`a --photographs DIR|TAR`", "n": "1"}, {"n": "2"}]
    lines = markdown_table(rows).splitlines()
    assert lines[2:] == [r"| `a --photographs DIR\|TAR` | 1 |", "|  | 2 |"]
    assert markdown_table([], ["a", "b"]) == "| a | b |\n| --- | --- |"


def test_markdown_has_a_line_for_each_row(tmp_path):
    write(tmp_path, record(), record(recipe="b"))
    lines = markdown_table(collect(tmp_path)).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {11}


def test_a_folder_without_records_and_a_file_that_is_none_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no record"):
        collect(tmp_path)
    (tmp_path / "x.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json is not a record"):
        collect(tmp_path)
    (tmp_path / "x.json").write_text('{"recipe": "a"}', encoding="utf-8")
    with pytest.raises(DataError, match="it has no changed, environment, seed, speed, test"):
        collect(tmp_path)


# --- beside what was published ---------------------------------------------------------------


def runs(*args, **keys) -> Recorded:
    return summaries([record(*args, **keys)])[0]


@pytest.mark.parametrize(
    ("accuracy", "word"),
    [(0.73, "beaten"), (0.712, "met"), (0.7081, "met"), (0.70, "not met")],
)
def test_a_published_number_is_beaten_met_or_not(accuracy, word):
    """.7081 of 10,000: half the interval is 0.9 points."""
    assert verdict(runs("keras-lab", accuracy=accuracy)) == word


def test_a_tolerance_and_a_top_three_count():
    assert verdict(runs("torch-lrn", accuracy=0.4705)) == "met"
    assert verdict(runs("torch-lrn", accuracy=0.4690)) == "not met"
    assert verdict(runs("torch-transfer", accuracy=0.90)) == "beaten"
    low = record("torch-transfer", accuracy=0.90)
    low["test"]["top"] = {"3": 0.90}
    assert verdict(summaries([low])[0]) == "not met"


def test_a_changed_recipe_and_one_without_a_number_get_no_verdict():
    assert verdict(runs("keras-lab", changed={"train.epochs": "1 epochs"})) == "another protocol"
    assert verdict(runs("tf-sgd")) == verdict(runs("a")) == ""


def test_of_other_data_nothing_was_published():
    other = runs("keras-lab", changed={"data.name": "shapes"})
    assert verdict(other) == ""
    (row,) = full_rows([other])
    assert {row[key] for key in ("published", "difference", "published training")} == {""}


def test_the_full_table_has_their_time_of_as_many_epochs():
    (row,) = full_rows([runs("keras-lab", accuracy=0.7181, seconds=7200.0)])
    assert row["published"] == "70.81 %"
    assert row["difference"] == "+1.00"
    assert row["training"] == "2:00:00"
    assert row["published training"] == "13:40 (one Colab GPU)"  # ten times 82 s
    assert row["published images/s"] == "488"  # 400,000 pictures in 820 s
    (row,) = full_rows([runs("torch-lrn")])
    assert row["published training"] == "21:00"


def test_every_view_has_a_row_of_means():
    def scored(views, top1, top5, **more):
        return {"views": views, "top": {"1": top1, "5": top5}, "accuracy": top1, **more}

    runs = []
    for seed, top1 in enumerate((0.7, 0.72)):
        ten, one = scored("ten", top1, 0.9, macro_f1=0.6), scored("centre", top1 - 0.02, 0.88)
        run = record(seed=seed, test_views={"centre": one, "ten": ten})
        run["test"] = {**run["test"], **ten}
        run["speed"] = {**run["speed"], "waiting_share": 0.001 * seed}
        runs.append(run)
    ten, centre = view_rows(runs)
    assert (ten["views"], ten["n"], ten["top-1"], ten["top-5"]) == (
        "ten",
        "2",
        "71.00 %",
        "90.00 %",
    )
    assert (centre["views"], centre["top-1"], centre["top-5"]) == ("centre", "69.00 %", "88.00 %")
    assert (ten["macro-F1"], centre["macro-F1"]) == ("60.00 %", "")
    assert ten["waiting for pictures"] == "0.05 %"
    (old,) = view_rows([record()])
    assert (old["views"], old["top-1"], old["waiting for pictures"]) == ("", "", "")


def test_the_interval_of_several_seeds_is_of_their_mean():
    both = summaries([record(accuracy=0.90), record(accuracy=0.91, seed=1)])[0]
    assert both.interval == pytest.approx((0.8991, 0.9106), abs=2e-4)


# --- the claims ------------------------------------------------------------------------------


def claim(name: str, *known: dict) -> Claim:
    return next(c for c in claims(summaries(known)) if c.name == name)


def test_the_five_published_programs_have_a_claim_each():
    assert [c.name for c in claims([])] == [
        *("keras-functional", "keras-lab", "tf-sgd", "torch-lrn", "torch-transfer")
    ]
    for each in claims([]):
        assert each.word == "not run yet"
        assert f"`alexnet train {each.name}`" in each.text


def test_a_run_cut_short_is_told_beside_the_published_curve():
    part = record("keras-lab", accuracy=0.34, changed={"train.epochs": "1 epochs"})
    part["history"] = [{"epoch": 1, "val_accuracy": 0.35}]
    found = claim("keras-lab", part)
    assert found.word == "not run to its end yet"
    assert "validation after epoch 1: 35.00 %, published 33.96 %" in found.text
    assert "Not run to the end yet: `alexnet train keras-lab`, `alexnet train keras-lab-as" in found.text  # fmt: skip


def test_a_claim_is_judged_by_the_program_as_published_where_that_was_run():
    corrected, kept = record("torch-lrn", accuracy=0.60), record("torch-lrn-as-published", accuracy=0.45)  # fmt: skip
    assert claim("torch-lrn", corrected).word == "beaten"
    found = claim("torch-lrn", corrected, kept)
    assert found.word == "not met"
    assert "+12.05 points from the published 47.95 %" in found.text
    assert "-2.95 points from the published 47.95 %" in found.text


def test_a_top_three_is_told_of_another_protocol_too():
    few = record("torch-transfer", accuracy=0.84, changed={"train.epochs": "10 epochs"})
    found = claim("torch-transfer", record("torch-transfer", accuracy=0.85), few)
    assert "top-3 97.00 %, published 96.83 %" in found.text
    assert "top-3 97.00 %;" in found.text


def test_other_views_are_told_where_all_runs_have_them():
    def seen(seed, **others):
        run = record("keras-lab", seed=seed, accuracy=0.70)
        run["test"]["views"] = "centre"
        own = {"centre": run["test"]}
        return run | {"test_views": own | {v: {"accuracy": a} for v, a in others.items()}}

    found = claim("keras-lab", seen(0, ten=0.72, flip=0.71), seen(1, ten=0.74))
    assert "by views 'ten' 73.00 %;" in found.text
    assert "flip" not in found.text
    assert "by views 'centre'" not in found.text


def test_one_more_run_is_foretold_by_three():
    accuracies = (0.69, 0.70, 0.71)
    runs = [record("keras-lab", seed=n, accuracy=a) for n, a in enumerate(accuracies)]
    half = 4.302653 * 0.01 * (4 / 3) ** 0.5  # Student's t of two degrees of freedom, from a table
    told = f"one more run of it would reach {100 * (0.7 - half):.2f} to {100 * (0.7 + half):.2f} %"
    assert told in claim("keras-lab", *runs).text
    assert "one more run" not in claim("keras-lab", *runs[:2]).text


def test_no_claim_and_a_result_is_the_first():
    found = claim("tf-sgd", record("tf-sgd", accuracy=0.7))
    assert found.word == "the first result"
    assert found.markdown().startswith("### tf-sgd: the first result\n")


# --- the effect of a fault -------------------------------------------------------------------


def effect(name: str, key: str, *known: dict) -> str:
    fault = next(f for f in built_in.tree(name)["fault"] if f["key"] == key)
    return effect_of(name, fault, summaries(known))


def test_an_effect_is_the_difference_of_two_recorded_runs():
    """Newcombe's interval by hand: each Wilson interval is 0.979 points to either side."""
    with_it = record("torch-lrn-as-published", accuracy=0.48)
    said = effect("torch-lrn", "evaluation.dropout", record("torch-lrn", accuracy=0.50), with_it)
    assert said == (
        "effect: -2.00 points of top-1, with it 48.00% (n = 1), without 50.00% (n = 1); "
        "95 % interval -3.38 to -0.61"
    )


def test_what_is_said_and_scored_besides_is_no_fault(monkeypatch):
    """A sibling that logs oftener and scores more views still stands for its one fault."""
    kept, tree = "torch-lrn-as-published", built_in.tree

    def other(name: str) -> dict:
        found = tree(name)
        if name == kept:
            found["train"]["log_every"], found["evaluation"]["also"] = "3 steps", ["ten"]
        return found

    monkeypatch.setattr(built_in, "tree", other)
    known = record("torch-lrn", accuracy=0.50), record(kept, accuracy=0.48)
    assert effect("torch-lrn", "evaluation.dropout", *known).startswith("effect: -2.00 points")


def test_an_effect_across_machines_says_so():
    with_it = record("torch-lrn-as-published", accuracy=0.48, hardware="y")
    said = effect("torch-lrn", "evaluation.dropout", record("torch-lrn", accuracy=0.50), with_it)
    assert said.endswith("-3.38 to -0.61; with it on y, without on x")


def test_of_several_machines_those_that_ran_both_are_compared():
    kept = "torch-lrn-as-published"
    known = [record("torch-lrn", accuracy=a, hardware=on) for a, on in ((0.5, "x"), (0.4, "y"))]
    said = effect("torch-lrn", "evaluation.dropout", *known, record(kept, accuracy=0.48))
    assert said.endswith(
        "with it 48.00% (n = 1), without 50.00% (n = 1); 95 % interval -3.38 to -0.61"
    )


def test_one_of_several_faults_is_measured_by_a_run_with_it_alone():
    base, all_ = record("tf-sgd", accuracy=0.70), record("tf-sgd-as-published", accuracy=0.6)
    assert effect("tf-sgd", "input.scale", base, all_) == (
        "effect not measured yet: `alexnet train tf-sgd --set input.scale=0..255`"
    )
    alone = record("tf-sgd", accuracy=0.65, changed={"input.scale": "0..255"})
    said = effect("tf-sgd", "input.scale", base, all_, alone)
    assert said.startswith("effect: -5.00 points of top-1, with it 65.00%")
    (together,) = all_together("tf-sgd", built_in.tree("tf-sgd")["fault"], summaries([base, all_]))
    assert together.startswith("all together: effect: -10.00 points")


def test_a_fault_names_what_it_needs_to_show():
    """Batches of 500 divide 10,000 pictures: none would be left out."""
    said = effect("tf-sgd", "evaluation.drop_last")
    assert said.endswith("--set evaluation.drop_last=true --set evaluation.batch=32`")


@pytest.mark.parametrize("name", recipes.names())
def test_the_commands_that_would_measure_give_the_recipe_they_mean(name):
    for fault in built_in.tree(name)["fault"]:
        for command in re.findall(r"`alexnet train (.*?)`", effect_of(name, fault, [])):
            recipe, *sets = [a for a in shlex.split(command) if a != "--set"]
            changes = dict(map(recipes.parse_assignment, sets))
            made = recipes.override(recipes.load(recipe), changes)
            assert recipes.changes(made) == changes


# --- what is generated -----------------------------------------------------------------------


def test_what_is_packaged_is_what_was_recorded():
    assert packaged() == summaries(read_records(ROOT / "results"))
    assert packaged_unfinished() == read_unfinished(ROOT / "results")


def test_results_md_is_what_the_records_say():
    from update_results import longest, results_text

    drawn = longest(read_records(ROOT / "results"))
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert results_text(page(ROOT / "results"), drawn) == text, "run python tools/update_results.py"
    assert all((ROOT / "docs" / "pictures" / f"{name}.png").is_file() for name in drawn)


def test_the_readme_carries_the_table_of_the_recorded_runs():
    from update_results import with_table

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme, page(ROOT / "results").brief) == readme, (
        "README.md is behind results/; run python tools/update_results.py"
    )
