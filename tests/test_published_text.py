"""What a recipe says of the program that it was made after."""

from __future__ import annotations

import pytest

from alexnet import built_in
from alexnet import recipe as recipes
from alexnet.reporting.cards import show
from alexnet.reporting.published import faults_text, scored_text
from alexnet.reporting.verdict import verdict_text, word
from alexnet.reporting.words import words

VERDICT = {
    "published": 0.7081,
    "measured": 0.7031,
    "difference": -0.005,
    "interval": [0.69, 0.71],
    "met": False,
    "published_loss": None,
    "measured_loss": 1.0,
    "published_seconds_per_epoch": None,
    "published_hardware": "",
}


def test_the_faults_of_a_recipe_a_line_each(monkeypatch):
    monkeypatch.setattr("alexnet.reporting.published.packaged", list)  # nothing was recorded
    monkeypatch.setattr("alexnet.reporting.published.packaged_unfinished", list)
    said = show("tf-sgd").text
    assert "Corrects faults of the published program, which tf-sgd-as-published keeps:" in said
    lines = [line for line in said.splitlines() if "effect not measured yet" in line]
    assert [line.split(":")[0].strip() for line in lines] == [
        *(fault.key for fault in recipes.load("tf-sgd").fault if not fault.effect),
        "all together",
    ]
    assert "[[fault]]" not in said


def test_the_sibling_that_keeps_them_shows_the_same_lines():
    corrected, kept = (
        faults_text(built_in.tree(name)).splitlines() for name in ("tf-sgd", "tf-sgd-as-published")
    )
    assert kept[0] == "Keeps the faults of the published program, which tf-sgd corrects:"
    assert kept[1:] == corrected[1:]


def test_a_measured_effect_is_said_and_a_recipe_without_faults_says_nothing():
    fault = {"published": "it errs", "corrected": "it does not", "effect": "2.1 points"}
    plan = recipes.check({"name": "mine", "summary": "", "fault": [fault]})
    assert "corrected: it does not; effect: 2.1 points" in faults_text(recipes.to_tree(plan))
    assert faults_text(built_in.tree("cifar10-quick")) == ""


def test_what_is_known_of_a_fault_by_its_effect_changes_no_run():
    plan = recipes.load("tf-sgd")
    assert recipes.changes(plan.model_copy(update={"fault": ()})) == {}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "(95 % interval 69.00% to 71.00%), difference -0.50 points: not met"),
        ({"met": True, "tolerance": 0.005}, "difference -0.50 points, tolerance 0.50 points: met"),
        ({"met": True, "interval": [0.7082, 0.72]}, "difference -0.50 points: beaten"),
        ({"met": None}, "another protocol, so no verdict"),
        ({"published_top3": 0.9, "measured_top3": 0.91}, "top-3 published 90.00%, measured 91.00%"),
        ({"published_top3": 0.9, "measured_top3": None}, "top-3 published 90.00%, measured -"),
        ({"published_seconds_per_epoch": 82.0}, "published 82 s an epoch"),
    ],
)
def test_a_verdict(keys, said):
    assert said in verdict_text(VERDICT | keys)


@pytest.mark.parametrize(
    ("met", "low", "said"),
    [
        (True, 0.71, "beaten"),
        (True, 0.70, "met"),
        (False, 0.71, "not met"),  # by its top-3, say
        (None, 0.71, "another protocol"),
    ],
)
def test_one_word_for_what_became_of_a_published_number(met, low, said):
    assert word(met, low, published=0.7) == said


def test_a_verdict_in_korean():
    more = {"published_loss": 0.8757, "published_seconds_per_epoch": 82.0}
    said = verdict_text(VERDICT | more, SPEED, epochs=10, say=words("ko"))
    assert said.startswith("보고된 수치 70.81%, 측정값 70.31% (95% 신뢰 구간 69.00%~71.00%)")
    assert "차이 -0.50 %p: 미달" in said
    assert "에포크당 82초 (초당 488장)" in said
    assert "published" not in said


SPEED = {"training_seconds": 1000.0, "pictures": 400_000, "images_per_second": 400.0}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"published_seconds_per_epoch": 82.0, "published_hardware": "one Colab GPU"},
            "published 82 s an epoch on one Colab GPU (488 images/s), here 100 s an epoch (400 images/s)",
        ),
        (
            {"published_training_seconds": 1260.0},
            "published 21:00 in all (317 images/s), here 16:40 in all (400 images/s)",
        ),
        (
            {"published_training_seconds": 1260.0, "met": None},
            "published 21:00 in all, here 16:40 of another length",
        ),
    ],
)
def test_their_time_stands_beside_ours(keys, said):
    assert verdict_text(VERDICT | keys, SPEED, epochs=10).endswith(said)


def test_a_verdict_without_a_published_time_says_none():
    assert "images/s" not in verdict_text(VERDICT, SPEED, epochs=10)


def test_a_plain_score_needs_no_remark():
    plain = {"pictures": 50, "of": 50, "dropout": False, "penalty": 0.0}
    assert scored_text(plain) == scored_text({}) == []
    (line,) = scored_text({"pictures": 9984, "of": 10000, "dropout": True, "penalty": 0.25})
    assert "16 of 10,000 test pictures" in line
    assert "dropout stayed active" in line
    assert "includes 0.2500 of weight penalty" in line
