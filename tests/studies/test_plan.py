"""A study's file: read, checked, and refused by name."""

from __future__ import annotations

import pytest

from alexnet import recipe
from alexnet.errors import RecipeError, UnknownName
from alexnet.studies import cells, plan

TEXT = """
name = "pools"
summary = "do overlapping pools help?"
recipe = "cifar10-quick"
seeds = [3, 4]

[set]
train.epochs = "2 epochs"

[[row]]
name = "plain"

[[row]]
name = "slow"
set = { optim.lr = 0.01, "train.batch" = 64 }
published = { points = { top1 = -1.4 }, source = "somebody" }
"""


def parsed(text=TEXT):
    return plan.parse(text, origin="pools.toml")


def test_dotted_keys_may_be_quoted_or_not():
    study = parsed()
    made = cells.planned(study, study.line("slow"), 4)
    assert (made.optim.lr, made.train.batch, made.train.seed) == (0.01, 64, 4)
    assert str(made.train.epochs) == "2 epochs"


def test_the_first_row_is_the_base_unless_another_is_named():
    assert parsed().base_row.name == "plain"
    assert parsed('base = "slow"\n' + TEXT).base_row.name == "slow"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"slow"', '"plain"'), "plain stands there twice"),
        (("[3, 4]", "[3, 3]"), "3 stands there twice"),
        (
            ("[3, 4]", "[]"),
            r"seeds = \[\]: expected a list of whole numbers of at least 0, at least 1$",
        ),
        (("[3, 4]", "[-1]"), "seeds.0 = -1"),
        (('"slow"', '"Slow one"'), r"row.1.name = 'Slow one'.*expected small letters"),
        (('"slow"', '"slow"\ntitel = ""'), r"unknown key 'row.1.titel'; did you mean 'row.title'"),
        (('name = "slow"', ""), "key 'row.1.name' is missing"),
        (('summary = "do', 'sumary = "do'), "key 'summary' is missing"),
        (("top1 =", "first ="), "got 'first'"),
        (('"slow"', '"slow"\nof = "plan"'), "of = 'plan' is no row.*did you mean 'plain'"),
        (('"slow"', '"slow"\nof = "plain"'), "give it `views`, and neither `set` nor `recipe`"),
        (('"slow"', '"slow"\nat = ["a", "b"]'), "`at` and the study's `grid` belong together"),
        (('"slow"', '"slow"\nbase = "slow"'), "row slow: base = 'slow' is the row itself"),
        (('"slow"', '"slow"\nbase = "pln"'), "base = 'pln' is no row; did you mean 'plain'"),
        (('recipe = "cifar10-quick"', 'recipe = "x"\nbase = "slw"'), "did you mean 'slow'"),
        (("[set]", "[set"), "is not valid TOML"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    text = TEXT.replace(*change)
    assert text != TEXT
    with pytest.raises(RecipeError, match=message) as refused:
        parsed(text)
    assert str(refused.value).startswith("pools.toml")


def test_a_row_may_have_a_base_of_its_own():
    study = parsed(TEXT + '\n[[row]]\nname = "c"\nbase = "slow"\n')
    bases = [study.compared_with(row) for row in study.row]
    assert [base.name if base else None for base in bases] == [None, "plain", "slow"]


def test_a_row_scored_again_is_of_one_that_is_trained():
    again = '\n[[row]]\nname = "flip"\nof = "plain"\nviews = "flip"\n'
    assert parsed(TEXT + again).trained(parsed(TEXT + again).line("flip")).name == "plain"
    with pytest.raises(RecipeError, match="of = 'flip' is no row that is trained"):
        parsed(TEXT + again + again.replace('"plain"', '"flip"', 1).replace('"flip"', '"b"', 1))


def test_a_recipe_in_a_file_lies_beside_the_study(tmp_path):
    (tmp_path / "own.toml").write_text(recipe.to_toml(recipe.load("keras-lab")), encoding="utf-8")
    file = tmp_path / "study.toml"
    file.write_text(TEXT.replace('"cifar10-quick"', '"own.toml"'), encoding="utf-8")
    study = plan.load(str(file))
    assert cells.planned(study, study.base_row, 0).name == "keras-lab"


def test_files_and_names_that_are_not_there(tmp_path):
    with pytest.raises(RecipeError, match="does not exist; `alexnet study` names the built-in"):
        plan.load(str(tmp_path / "x.toml"))
    with pytest.raises(UnknownName, match="did you mean 'paper-ablations'"):
        plan.load("paper-ablation")


@pytest.mark.parametrize("name", plan.names())
def test_the_studies_that_come_with_the_package(name, tmp_path):
    """Every row fits its recipe, is scored in the views asked for, and says where its figure is from."""
    study = plan.load(name)
    assert study.name == name
    every = cells.cells(study, tmp_path)
    settings = [recipe.to_toml(c.recipe) for c in every]
    assert len(set(settings)) == len(settings), "two cells are the same run"
    claims = [row.published for row in study.row if row.published]
    assert claims
    assert all(claim.source for claim in claims)
