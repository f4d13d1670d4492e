"""A recipe says what it means or is refused by name, before anything starts."""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from alexnet import recipe
from alexnet.data.sources import DATASETS
from alexnet.errors import RecipeError, UnknownName
from alexnet.models import zoo
from alexnet.recipe import Duration, Recipe
from alexnet.reporting.run_pictures import published

SMALL = {"name": "mine", "summary": "a test"}


def refusal(changes: dict[str, object], of: str = "cifar10-quick") -> str:
    """What is said about a recipe with these keys changed."""
    with pytest.raises(RecipeError) as caught:
        recipe.override(recipe.load(of), changes)
    return str(caught.value)


# --- the recipes that come with the package --------------------------------------------------


@pytest.mark.parametrize("name", recipe.names())
def test_built_in(name):
    plan = recipe.load(name)
    assert plan.name == name
    assert plan.summary
    assert plan.source
    assert plan.model.network in zoo.NETWORKS
    assert plan.data.name in DATASETS
    assert recipe.parse(recipe.to_toml(plan)) == plan


def test_names():
    assert recipe.names() == sorted(recipe.names())
    assert {"cifar10-quick", "keras-lab"} <= set(recipe.names())


def test_the_lab_is_what_was_published():
    """Batch, rate, split and the ten epochs of the notebook; eps and betas are Keras's defaults."""
    plan = recipe.load("keras-lab")
    assert (plan.optim.name, plan.optim.lr, plan.optim.eps) == ("keras-adam", 1e-3, 1e-7)
    assert (plan.optim.beta1, plan.optim.beta2) == (0.9, 0.999)
    assert (plan.data.train, plan.data.validation, plan.data.split) == (
        "train[:80%]",
        "train[80%:]",
        "slice",
    )
    assert (plan.train.batch, plan.train.epochs, plan.input.size) == (
        64,
        Duration(10, "epochs"),
        227,
    )
    assert plan.published
    assert len(plan.published.val_accuracy) == len(plan.published.val_loss) == 10


def test_the_training_of_2012_is_what_the_paper_and_the_program_say():
    """Paper, section 5; biases at twice the rate without decay, and the drops, from layers-145."""
    said, ran = recipe.load("alexnet-2012"), recipe.load("alexnet-2012-source")
    for plan in (said, ran):
        rule, rates = plan.optim, plan.schedule
        assert (rule.name, rule.lr, rule.momentum, rule.weight_decay) == ("2012", 0.01, 0.9, 5e-4)
        assert (rule.group[-1].match, rule.group[-1].lr_factor) == ("*.bias", 2.0)
        assert {g.weight_decay for g in rule.group if g.match.endswith("bias")} == {0.0}
        assert (rates.name, rates.factor) == ("drops", 0.1)
        assert [str(time) for time in rates.at] == ["25 epochs", "51 epochs", "79 epochs"]
        assert (plan.train.batch, plan.input.size) == (128, 224)
    assert {g.match for g in ran.optim.group if str(g.until) == "72 epochs"} == {
        "conv1.weight",
        "conv1.bias",
    }


# The systems as their authors published them: split, input, rule, schedule, length.
PUBLISHED = {
    "keras-lab": {
        "data.split": "slice",
        "model.network": "keras-lab",
        "optim.name": "keras-adam",
        "optim.lr": 0.001,
        "train.epochs": "10 epochs",
        "train.batch": 64,
        "train.shuffle_window": 256,
        "schedule.name": "constant",
        "published.test_accuracy": 0.7081,
        "published.test_loss": 0.8757,
    },
    "tf-sgd": {
        "data.split": "sklearn",
        "data.split_seed": 42,
        "input.scale": "0..255",
        "model.network": "keras-bn5",
        "optim.name": "keras-sgd",
        "optim.lr": 0.01,
        "optim.momentum": 0.9,
        "optim.weight_decay": 0.0,
        "schedule.name": "plateau",
        "schedule.factor": 0.1,
        "schedule.patience": 1,
        "schedule.min_delta": 1e-4,
        "schedule.min_lr": 1e-5,
        "train.epochs": "50 epochs",
        "train.batch": 32,
        "train.shuffle": "never",
        "train.drop_last": True,
        "evaluation.batch": 32,
        "evaluation.drop_last": True,
    },
    "torch-lrn": {
        "data.train": "train",
        "data.validation": "test",
        "input.mean": [0.5, 0.5, 0.5],
        "input.std": [0.5, 0.5, 0.5],
        "model.network": "torch-lrn",
        "optim.name": "sgd",
        "optim.lr": 0.001,
        "optim.momentum": 0.9,
        "train.epochs": "10 epochs",
        "train.batch": 64,
        "train.log_every": "100 steps",
        "schedule.name": "constant",
        "evaluation.keep": "last",
        "evaluation.dropout": True,
        "published.test_accuracy": 0.4795,
    },
    "keras-functional": {
        "data.split": "sklearn",
        "data.split_seed": 2021,
        "input.size": 128,
        "input.resize": "uint8",
        "model.network": "keras-bn5",
        "optim.name": "keras-adam",
        "optim.lr": 0.001,
        "optim.weight_decay": 0.0,
        "schedule.name": "plateau",
        "schedule.factor": 0.2,
        "schedule.patience": 5,
        "schedule.min_delta": 1e-4,
        "schedule.min_lr": 0.0,
        "train.epochs": "30 epochs",
        "train.batch": 64,
        "train.shuffle": "after-first",
        "train.early_stopping": 10,
        "evaluation.keep": "last",
        "evaluation.penalty": True,
        "published.test_accuracy": 0.81,
    },
}
# What else differs between a corrected recipe and its sibling, and is no fault.
ALLOWED = {
    *("name", "summary", "fault", "published.protocol", "published.claim", "published.remark"),
    *("evaluation.batch", "train.drop_last"),
}


def flat(plan: Recipe) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in recipe.to_tree(plan).items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}  # fmt: skip
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_system_is_what_was_published(name):
    keys = flat(recipe.load(f"{name}-as-published"))
    expected = {"data.name": "cifar10", "data.test": "test", "input.size": 227} | PUBLISHED[name]
    if name != "torch-lrn":
        expected |= {"data.train": "train[:80%]", "data.validation": "train[80%:]"}
    assert {key: keys[key] for key in expected} == expected
    assert (keys["augment.flip"], keys["augment.crop"], keys["evaluation.views"]) == (
        *("none", 0),
        "centre",
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_corrected_and_as_published_differ_by_their_faults_alone(name):
    corrected, kept = flat(recipe.load(name)), flat(recipe.load(f"{name}-as-published"))
    faults = {fault.key for fault in recipe.load(name).fault if fault.key}
    differing = {k for k in corrected.keys() | kept.keys() if corrected.get(k) != kept.get(k)}
    assert faults
    assert faults <= differing
    assert differing - faults <= ALLOWED
    assert kept["fault"] == []


def test_the_penalty_of_the_functional_program_is_on_four_kernels():
    """l2(1e-4) has the gradient 2e-4 w."""
    for name in ("", "-1e-4", "-as-published"):
        (group,) = recipe.load(f"keras-functional{name}").optim.group
        assert (group.match, group.weight_decay) == ("conv[2-5].weight", 2e-4)
    slow, fast = flat(recipe.load("keras-functional-1e-4")), flat(recipe.load("keras-functional"))
    differing = {k for k in fast if fast[k] != slow.get(k)}
    assert {k for k in differing if not k.startswith("published.")} == {"optim.lr", "name", "summary", "fault"}  # fmt: skip
    assert slow["optim.lr"] == 1e-4


def test_a_split_that_chooses_is_not_the_one_that_tests():
    both = {"data.validation": "test", "data.test": "test"}
    recipe.override(recipe.load("cifar10-quick"), both)
    for chooser in ({"evaluation.keep": "best"}, {"train.early_stopping": 3}):
        assert "what a split chooses it cannot test" in refusal(both | chooser)


def test_orders_that_contradict():
    assert "draws its own order" in refusal({"train.balance": "sampling", "train.shuffle": "never"})
    assert "resizes nothing" in refusal({"input.resize": "uint8", "input.fit": "crop"})


# --- the defaults ----------------------------------------------------------------------------


def test_defaults_and_the_text_of_them():
    plan = recipe.check(SMALL)
    assert recipe.parse(recipe.to_toml(plan)) == plan
    assert plan.published is None
    assert "published" not in recipe.to_tree(plan)


def test_a_recipe_is_frozen():
    plan = recipe.check(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        plan.optim.lr = 1.0  # type: ignore[misc]


def test_every_key_can_be_written_and_is_listed():
    full = {
        **SMALL,
        "data": {"size": 48},
        "augment": {"colour_until": "3 epochs"},
        "model": {"dropout": 0.5, "head": [16]},
        "optim": {"group": [{"match": "*.bias", "weight_decay": 0.0, "until": "3 epochs"}]},
        "published": {
            "source": "s",
            "protocol": "p",
            "test_accuracy": 0.5,
            "test_top3": 0.9,
            "test_loss": 1.0,
            "seconds_per_epoch": 82,
            "training_seconds": 820,
        },
        "fault": [{"published": "it errs", "corrected": "it does not"}],
    }
    tree = recipe.to_tree(recipe.check(full))
    written = set()
    for name, value in tree.items():
        inner = value.keys() if isinstance(value, dict) else [""]
        written |= {f"{name}.{key}" if key else name for key in inner}
    written = written - {"optim.group"} | {f"optim.group.{k}" for k in tree["optim"]["group"][0]}
    written = written - {"fault"} | {f"fault.{k}" for k in tree["fault"][0]}
    assert written == set(recipe.keys())


def test_how_often_a_run_is_saved_is_no_change_of_it():
    lab = recipe.load("keras-lab")
    assert recipe.changes(recipe.override(lab, {"checkpoint.every": "5 epochs"})) == {}
    assert recipe.changes(recipe.override(lab, {"train.precision": "float32"})) == {}
    assert recipe.changes(recipe.override(lab, {"train.log_every": "9 steps"})) == {}
    assert recipe.changes(recipe.override(lab, {"evaluation.also": ["flip"]})) == {}
    assert recipe.changes(recipe.override(lab, {"summary": "in other words"})) == {}
    assert recipe.changes(recipe.override(lab, {"evaluation.views": "flip"})) != {}
    assert recipe.changes(recipe.override(lab, {"train.epochs": 5})) != {}


def test_what_is_only_told_of_a_published_run_changes_none():
    """Of a run begun before a published time was known, the end still gives a verdict."""
    lab = recipe.load("keras-lab")
    told = {"training_seconds": 1.0, "hardware": "", "claim": "", "remark": "", "source": "s"}
    published = lab.published.model_copy(update=told)
    assert recipe.changes(lab.model_copy(update={"published": published})) == {}
    other = lab.published.model_copy(update={"test_accuracy": 0.1})
    assert recipe.changes(lab.model_copy(update={"published": other})).keys() == {
        "published.test_accuracy"
    }


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim.lrr", "optim.lr"),
        ("optim.weight_decy", "optim.weight_decay"),
        ("train.bacth", "train.batch"),
        ("OPTIM.LR", "optim"),
        ("trian.batch", "train"),
        ("published.test_acuracy", "published.test_accuracy"),
    ],
)
def test_an_unknown_key_with_the_closest(key, meant):
    said = refusal({key: 1}, of="keras-lab")
    assert repr(key.partition(".")[0]) in said or repr(key) in said
    assert f"did you mean {meant!r}" in said


@pytest.mark.parametrize(
    ("key", "wrong", "meant"),
    [
        ("optim.name", "adan", "adam"),
        ("optim.name", "keras_adam", "keras-adam"),
        ("schedule.name", "onecycle", "one-cycle"),
        ("train.precision", "bf61", "bf16"),
        ("evaluation.views", "centr", "centre"),
        ("evaluation.keep", "bets", "best"),
        ("augment.flip", "randon", "random"),
        ("data.split", "stratify", "stratified"),
        ("input.scale", "0..2555", "0..255"),
        ("input.fit", "corp", "crop"),
        ("input.resize", "unit8", "uint8"),
        ("train.shuffle", "after-frist", "after-first"),
        ("augment.window", "chunks", "chunk"),
        ("augment.colour_reading", "varience", "variance"),
        ("train.balance", "sample", "sampling"),
    ],
)
def test_an_unknown_word_with_the_closest_and_all_known(key, wrong, meant):
    said = refusal({key: wrong})
    assert f"unknown {key} {wrong!r}" in said
    assert f"did you mean {meant!r}" in said
    assert "known: " in said


def test_a_number_where_a_word_belongs():
    assert "unknown optim.name '3'; known: 2012, adam, keras-adam" in refusal({"optim.name": 3})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.lr", "fast"),
        ("optim.lr", "0.1"),
        ("optim.lr", True),
        ("optim.lr", -0.1),
        ("optim.lr", float("nan")),
        ("optim.lr", float("inf")),
        ("optim.momentum", 1.0),
        ("optim.beta1", 1.5),
        ("optim.eps", 0.0),
        ("optim.nesterov", 1),
        ("optim.nesterov", "yes"),
        ("train.batch", 0),
        ("train.batch", 64.0),
        ("train.batch", "64"),
        ("train.seed", -1),
        ("train.label_smoothing", 1.0),
        ("train.epochs", "ten epochs"),
        ("train.epochs", "10 weeks"),
        ("train.epochs", "-1 epochs"),
        ("train.epochs", "1e999 epochs"),
        ("train.epochs", True),
        ("train.epochs", ""),
        ("input.size", 0),
        ("input.mean", 0.5),
        ("input.mean", [0.5, 0.5]),
        ("input.mean", [0.5, 0.5, "0.5"]),
        ("input.mean", [0.5, 0.5, True]),
        ("input.mean", "pictures"),
        ("augment.area", [1.0, 0.0]),
        ("augment.colour", -0.1),
        ("augment.colour_shrink", 0.9),
        ("augment.jitter", 1.0),
        ("data.size", 8),
        ("data.name", 10),
        ("data.split_seed", -1),
        ("model.dropout", 1.0),
        ("evaluation.top", [0]),
        ("evaluation.top", [1.5]),
        ("evaluation.top", 1),
        ("augment.crop", -1),
        ("checkpoint.keep", 1),
        ("schedule.factor", 1.0),
        ("schedule.patience", 0),
        ("published.test_accuracy", 70.81),
        ("published.val_accuracy", ["high"]),
    ],
)
def test_a_value_that_does_not_fit_is_named(key, value):
    said = refusal({key: value}, of="keras-lab")
    assert said.startswith(f"override: {key}")
    assert repr(value) in said or (isinstance(value, list) and repr(value[-1]) in said)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.sides", [160, 192, 224], "an empty list or two whole numbers of at least 16"),
        ("train.sides", [0, 64], "an empty list or two whole numbers of at least 16"),
        ("train.sides", 64, "an empty list or two whole numbers of at least 16"),
        ("input.std", [1.0, 1.0], "three numbers"),
        ("input.std", [1.0, 1.0, 1.0, 1.0], "three numbers"),
        ("augment.area", [0.5], "two numbers above 0"),
        ("evaluation.top", 5, "a list of whole numbers of at least 1"),
        ("evaluation.also", "ten", "a list of 'centre', 'flip', 'shift', 'scales' or 'ten'"),
        ("model.head", 0, "a list of whole numbers of at least 1"),
        ("model.dropout", 2.0, "a number of at least 0 and below 1"),
        ("model.frozen", "conv*", "a list of texts"),
        ("schedule.at", "9 epochs", "a list of durations such as '10 epochs'"),
        ("train.compile", "yes", "true or false"),
        ("data.size", "big", "a whole number of at least 16"),
        ("optim.lr", float("inf"), "a finite number"),
        ("optim.group", 3, "a list of sections"),
    ],
)
def test_what_would_fit_is_said(key, value, said):
    assert refusal({key: value}) == f"override: {key} = {value!r}: expected {said}"


def test_what_would_fit_is_said_of_every_key():
    every = recipe.keys()
    for key in every:
        if key.startswith(("fault.", "optim.group.")):
            continue
        said = refusal({key: object()}, of="keras-lab")
        assert said.startswith((f"override: {key} = ", f"override: unknown {key}")), said
        assert "Input should" not in said


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"summary": "s"}, "'name' is missing"),
        ({"name": "n"}, "'summary' is missing"),
        ({**SMALL, "published": {}}, "'published.source' is missing"),
        ({**SMALL, "published": {"source": "s"}}, "'published.protocol' is missing"),
        ({**SMALL, "optim": {"group": [{"lr_factor": 2.0}]}}, "'optim.group.0.match' is missing"),
        ({**SMALL, "optim": 3}, "optim = 3"),
        ({**SMALL, "optim": [1]}, "optim = [1]: expected a section"),
        ({**SMALL, "published": "yes"}, "published = 'yes'"),
    ],
)
def test_a_tree_with_something_missing_or_misplaced(tree, key):
    with pytest.raises(RecipeError, match=r"^mine\.toml: ") as caught:
        recipe.check(tree, origin="mine.toml")
    assert key in str(caught.value)


def test_a_name_that_looks_like_a_number():
    changes = dict(map(recipe.parse_assignment, ["optim.name=2012", "model.init=2012"]))
    plan = recipe.override(recipe.load("cifar10-quick"), changes)
    assert (plan.optim.name, plan.model.init) == ("2012", "2012")


def test_published_filled_in_part_by_an_override():
    assert "'published.source' is missing" in refusal({"published.test_accuracy": 0.7})


def test_a_section_under_a_value():
    assert "'lr' is a value, not a section" in refusal({"optim.lr.peak": 1.0})


@pytest.mark.parametrize(
    "needs",
    [{"evaluation.keep": "best"}, {"schedule.name": "plateau"}, {"train.early_stopping": 3}],
)
def test_choosing_needs_a_validation_split(needs):
    assert "data.validation is empty" in refusal({"data.validation": "", **needs})
    assert recipe.override(recipe.load("cifar10-quick"), {"data.validation": ""})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule.name": "drops"}, "belong together; got 'drops' with 0 times"),
        ({"schedule.at": ["2 epochs"]}, "belong together; got 'one-cycle' with 1 times"),
        ({"schedule.name": "drops", "schedule.at": ["2 weeks"]}, "schedule.at.0 = '2 weeks'"),
        ({"schedule.name": "drops", "schedule.at": "2 epochs"}, "schedule.at = '2 epochs'"),
        ({"optim.name": "2012", "optim.nesterov": True}, "plain momentum"),
        ({"optim.group": [{"match": "*", "until": "soon"}]}, "optim.group.0.until = 'soon'"),
        ({"optim.name": "muon", "optim.nesterov": True}, "got optim.name = 'muon'"),
        ({"optim.name": "rmsprop", "optim.nesterov": True}, "set optim.nesterov=false"),
        ({"optim.name": "sgd", "optim.nesterov": True, "optim.momentum": 0.0}, "momentum = 0.0"),
        ({"model.head_norm": True}, "set model.head, e.g. [512], or model.head_norm=false"),
        ({"model.head": [], "model.head_norm": True}, "model.head_norm=false"),
        ({"augment.colour_shrink": 1.1}, "augment.colour is 0; set augment.colour_shrink=1"),
        ({"data.split": "sklearn", "data.split_seed": 2**32}, "a seed below 4294967296"),
    ],
)
def test_what_does_not_go_together(changes, said):
    assert said in refusal(changes)


def test_only_the_splits_of_scikit_learn_have_a_last_seed():
    """numpy's RandomState takes 32 bits, which they are made by."""
    quick = recipe.load("cifar10-quick")
    for split, seed in (("sklearn", 2**32 - 1), ("stratified", 2**40)):
        found = recipe.override(quick, {"data.split": split, "data.split_seed": seed})
        assert found.data.split_seed == seed


def test_drops_are_durations_and_come_back_from_toml():
    changes = {"schedule.name": "drops", "schedule.at": ["2 epochs", "500 steps", 9]}
    plan = recipe.override(recipe.load("cifar10-quick"), changes)
    assert plan.schedule.at == tuple(map(Duration.parse, ["2 epochs", "500 steps", "9 epochs"]))
    assert recipe.parse(recipe.to_toml(plan)) == plan


def test_a_zero_deviation_divides():
    assert "input.std" in refusal({"input.std": [1.0, 0.0, 1.0]})


CROP = {"input.fit": "crop", "augment.flip": "random", "augment.crop": 0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment.window": "random"}, "input.fit = 'resize' shows the whole picture"),
        ({**CROP, "augment.window": "chunk", "augment.flip": "alternate"}, "mirrors 32 pictures"),
        ({**CROP, "augment.window": "random", "augment.crop": 2}, "keep one"),
        ({"augment.area": [0.35, 1.0], "augment.crop": 2}, "keep one"),
        ({**CROP, "augment.area": [0.35, 1.0], "augment.window": "random"}, "keep one"),
        ({"augment.area": [0.35, 1.5], "augment.crop": 0}, "a share of the picture is at most 1"),
        ({"augment.area": [1.0, 0.35], "augment.crop": 0}, "the smaller value first"),
        ({"augment.ratio": [1.3, 0.7]}, "the smaller value first"),
        ({"evaluation.views": "ten"}, "set input.fit = 'crop'"),
        ({"evaluation.also": ["flip", "ten"]}, "set input.fit = 'crop'"),
        ({"evaluation.also": ["scales"], "input.fit": "crop"}, "set input.fit = 'resize'"),
    ],
)
def test_windows_and_views_that_contradict_each_other(changes, said):
    assert said in refusal(changes)


def test_an_unknown_view_among_several():
    said = refusal({"evaluation.also": ["flip", "tne"]})
    assert "unknown evaluation.also.1 'tne'; did you mean 'ten'?" in said


@pytest.mark.parametrize("mean", ["channel", "picture", [0.1, 0.2, 0.3], [0, 1, 2]])
def test_a_mean_is_three_numbers_or_a_name(mean):
    plan = recipe.override(recipe.load("cifar10-quick"), {"input.mean": mean})
    assert plan.input.mean == (mean if isinstance(mean, str) else tuple(map(float, mean)))
    assert recipe.parse(recipe.to_toml(plan)) == plan


def test_an_override_leaves_the_rest_and_the_original():
    plan = recipe.load("keras-lab")
    changed = recipe.override(plan, {"optim.lr": 2, "data.size": 48, "train.epochs": 3})
    assert (changed.optim.lr, changed.data.size) == (2.0, 48)
    assert changed.train.epochs == Duration(3, "epochs")
    assert plan == recipe.load("keras-lab")
    assert recipe.override(changed, {"optim.lr": 0.001, "train.epochs": "10 epochs"}).model_copy(
        update={"data": plan.data}
    ) == plan  # fmt: skip


def test_no_override_changes_nothing():
    plan = recipe.load("keras-lab")
    assert recipe.override(plan, {}) == plan


# --- names and files -------------------------------------------------------------------------


def test_an_unknown_recipe():
    with pytest.raises(
        UnknownName, match=r"unknown recipe 'cifar10-quik'; did you mean 'cifar10-quick'"
    ):
        recipe.load("cifar10-quik")


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "내 것.toml"
    path.write_text('name = "내 것"\nsummary = "고양이"\n[train]\nepochs = 2\n', encoding="utf-8")
    plan = recipe.load(str(path))
    assert (plan.name, plan.train.epochs) == ("내 것", Duration(2, "epochs"))
    assert recipe.parse(recipe.to_toml(plan)) == plan


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "does not exist"),
        ("folder", "is a folder"),
        (b"name = '\xff\xfe'", "not UTF-8"),
        (b"\xff\xfen\x00a\x00", "not UTF-8"),
        (b"name = ", "not valid TOML"),
        (b"name = 'a'\nname = 'b'", "not valid TOML"),
        (b"PK\x03\x04\x00\x00", "not valid TOML"),
        (b"", "'name' is missing"),
        (b"name = 'n'\nsummary = 's'\n[optim]\nlr = 'x'", "optim.lr = 'x'"),
        (b"name = 'n'\nsummary = 's'\n[optim]\nlr = 1979-05-27", "optim.lr = "),
        (
            b"name = 'n'\nsummary = 's'\n[published]\nsource = 's'",
            "'published.protocol' is missing",
        ),
        (b"name = 'n'\nsummary = 's'\n[optimizer]\nlr = 1", "unknown key 'optimizer'"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_its_fault(tmp_path, content, fault):
    path = tmp_path / "mine.toml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        recipe.load(str(path))
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs rights to be refused")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.touch(mode=0o000)
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(str(path))


def test_a_read_that_fails(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.touch()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(RecipeError, match=r"mine\.toml cannot be read: Permission denied"):
        recipe.load(str(path))


# --- section.key=value -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim.lr=0.02", ("optim.lr", 0.02)),
        ("optim.lr = 1e-3", ("optim.lr", 1e-3)),
        ("train.batch=1_000", ("train.batch", 1000)),
        ("train.drop_last=true", ("train.drop_last", True)),
        ("optim.name=adam", ("optim.name", "adam")),
        ('optim.name="adam"', ("optim.name", "adam")),
        ("optim.name='adam'", ("optim.name", "adam")),
        ("data.train=train[:80%]", ("data.train", "train[:80%]")),
        ("data.validation=", ("data.validation", "")),
        ("train.epochs=2 epochs", ("train.epochs", "2 epochs")),
        ('train.epochs="625 steps"', ("train.epochs", "625 steps")),
        ("train.epochs=3", ("train.epochs", 3)),
        ("evaluation.top=[1, 5]", ("evaluation.top", [1, 5])),
        ("summary=a = b", ("summary", "a = b")),
        ("summary=고양이", ("summary", "고양이")),
    ],
)
def test_assignments(text, expected):
    key, value = recipe.parse_assignment(text)
    assert (key, value) == expected
    assert type(value) is type(expected[1])
    assert isinstance(recipe.override(recipe.load("keras-lab"), {key: value}), Recipe)


@pytest.mark.parametrize("text", ["", "optim.lr", "=0.02", " = 1", "optim.lr 0.02"])
def test_what_is_no_assignment(text):
    with pytest.raises(RecipeError, match=r"expected section\.key=value, got"):
        recipe.parse_assignment(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_read_back(number):
    assert recipe.parse_assignment(f"optim.lr={number!r}") == ("optim.lr", number)


@given(st.text())
def test_any_text_is_an_assignment_or_refused(text):
    try:
        key, _ = recipe.parse_assignment(text)
    except RecipeError:
        assert not text.partition("=")[1] or not text.partition("=")[0].strip()
    else:
        assert key == text.partition("=")[0].strip()


@given(st.text(), st.text())
def test_any_name_and_summary_survive_the_text(name, summary):
    plan = recipe.check({"name": name, "summary": summary})
    assert recipe.parse(recipe.to_toml(plan)) == plan


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(), st.booleans())))
def test_any_tree_is_a_recipe_or_refused(tree):
    with contextlib.suppress(RecipeError):
        assert recipe.check(tree).name == tree["name"]


# --- durations -------------------------------------------------------------------------------

UNITS = st.sampled_from(["epochs", "steps", "examples"])
AMOUNTS = st.one_of(
    st.integers(0, 10**12).map(float), st.floats(0, 1e15, allow_nan=False, allow_infinity=False)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 epochs", (10, "epochs")),
        ("1 epoch", (1, "epochs")),
        ("1.5epochs", (1.5, "epochs")),
        (".5 epochs", (0.5, "epochs")),
        ("625 steps", (625, "steps")),
        ("1 step", (1, "steps")),
        ("500000 examples", (500_000, "examples")),
        ("1e6 examples", (1e6, "examples")),
        (" 3 ", (3, "epochs")),
        (3, (3, "epochs")),
        (0.5, (0.5, "epochs")),
    ],
)
def test_a_duration(text, expected):
    assert Duration.parse(text) == Duration(*expected)


@pytest.mark.parametrize(
    "text",
    ["", "epochs", "ten", "1,5 epochs", "-1", -1, "1 2", "3 epochss", "٣", None, True, [], "nan"],
)
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=r"expected e\.g\. '10 epochs'"):
        Duration.parse(text)


@given(AMOUNTS, UNITS)
def test_a_duration_is_its_text(amount, unit):
    duration = Duration(amount, unit)
    assert Duration.parse(str(duration)) == duration
    tree = tomllib.loads(tomli_w.dumps({"every": str(duration)}))
    assert recipe.check({**SMALL, "checkpoint": tree}).checkpoint.every == duration


def test_a_run_of_no_length_is_refused():
    with pytest.raises(
        RecipeError, match=r"train\.epochs = '0 epochs': a run takes more than no time"
    ):
        recipe.check({**SMALL, "train": {"epochs": "0 epochs"}})


def test_a_long_duration_is_written_in_full():
    assert str(Duration(12_345_678, "examples")) == "12345678 examples"
    assert str(Duration(2.5, "epochs")) == "2.5 epochs"


@given(st.integers(0, 1000), st.integers(1, 5000), st.integers(1, 512))
def test_the_units_agree(epochs, steps_per_epoch, batch):
    where = {"steps_per_epoch": steps_per_epoch, "batch": batch}
    steps = epochs * steps_per_epoch
    assert Duration(epochs, "epochs").steps(**where) == steps
    assert Duration(steps, "steps").steps(**where) == steps
    assert Duration(steps * batch, "examples").steps(**where) == steps


@given(AMOUNTS, UNITS, st.integers(1, 5000), st.integers(1, 512))
def test_a_duration_is_rounded_to_whole_steps(amount, unit, steps_per_epoch, batch):
    steps = Duration(amount, unit).steps(steps_per_epoch=steps_per_epoch, batch=batch)
    exact = {"epochs": amount * steps_per_epoch, "steps": amount, "examples": amount / batch}[unit]
    assert isinstance(steps, int)
    assert abs(steps - exact) <= 0.5 + 1e-9 * exact


def test_what_was_published_of_one_data_set_says_nothing_of_another():
    lab = recipe.load("keras-lab")
    assert recipe.compared(lab) == lab.published
    assert recipe.compared(recipe.override(lab, {"optim.lr": 0.1})) == lab.published
    elsewhere = recipe.override(lab, {"data.name": "shapes"})
    assert recipe.compared(elsewhere) is None
    assert published(lab).keys() == {"val_accuracy", "val_loss"}
    assert published(elsewhere) == {}
    own = {"published": {"source": "me", "protocol": "mine", "test_accuracy": 0.5}}
    told = recipe.compared(recipe.override(elsewhere, own))
    assert told is not None
    assert told.test_accuracy == 0.5
