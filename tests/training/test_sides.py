"""Smaller pictures first: which side when, what it saves, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alexnet import recipe
from alexnet.errors import RecipeError, UsageError
from alexnet.models import table, zoo
from alexnet.models.build import AlexNet
from alexnet.run.device import choose
from alexnet.run.log import Console
from alexnet.training import loop, sides

SMALL: dict[str, Any] = {
    "data.name": "shapes",
    "data.train": "train[:60]",
    "data.validation": "train[60:90]",
    "data.test": "test[:30]",
    "data.split": "slice",
    "data.size": 96,
    "input.size": 64,
    "train.batch": 20,
    "train.sides": [64, 64],
    "train.epochs": "2 epochs",
}


def plan(**changes: Any) -> recipe.Recipe:
    asked = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return recipe.override(recipe.load("imagenette-scratch"), asked)


def test_the_side_grows_for_three_quarters_of_the_run():
    found = [sides.side_at((64, 128), 160, step, 80) for step in range(80)]
    assert found == sorted(found)
    assert {side: found.count(side) for side in set(found)} == {
        64: 8,
        80: 15,
        96: 15,
        112: 15,
        128: 27,
    }
    assert found[60:] == [128] * 20


def test_without_sides_it_is_the_size_of_the_input():
    assert {sides.side_at((), 100, step, 10) for step in range(10)} == {100}


def test_the_mean_cost_weighs_each_side_by_its_steps():
    grown = plan(train__sides=[64, 96])
    one = {
        s: table.totals(table.trace(zoo.network("alexnet-bn"), s)).multiply_adds
        for s in (64, 80, 96)
    }
    mean = sides.mean(one.__getitem__, grown, range(100), 100)
    steps = {64: 19, 80: 38, 96: 43}  # the middles between the sides lie at 18.75 and 56.25
    assert mean == pytest.approx(sum(one[s] * n for s, n in steps.items()) / 100, rel=1e-12)


def test_pictures_of_a_step_have_its_side(data_root: Path, tmp_path: Path, monkeypatch):
    seen: list[int] = []
    forward = AlexNet.forward

    def noted(self, pictures):
        if self.training:
            seen.append(pictures.shape[-1])
        return forward(self, pictures)

    monkeypatch.setattr(AlexNet, "forward", noted)
    monkeypatch.setattr(loop, "rehearse", lambda stage, step: 1.0)
    result = loop.fit(
        plan(train__sides=[64, 96]),
        tmp_path / "run",
        device=choose("cpu", "float32"),
        root=data_root,
        console=Console(quiet=True),
    )
    assert seen == [64, 64, 80, 80, 96, 96]
    assert result.record["speed"]["pictures"] == 120


def test_a_network_for_one_size_is_refused():
    fixed = plan(train__sides=[80, 128], input__size=96, model__network="one-tower")
    with pytest.raises(RecipeError, match=r"one-tower fit one size only .* weights\); leave out"):
        sides.refuse_unfit(fixed, zoo.network("one-tower"))


def test_one_side_alone_is_refused():
    with pytest.raises(RecipeError, match=r"train\.sides"):
        plan(train__sides=[64])


def test_sides_that_would_be_rounded_are_refused():
    with pytest.raises(RecipeError, match=r"\[64, 100\]: .* units of 16 pixels, and 100 is none"):
        sides.refuse_unfit(plan(train__sides=[64, 100]), zoo.network("alexnet-bn"))


@pytest.mark.parametrize("ends", [[64, 128], [128, 64]])
def test_training_pictures_larger_than_the_stored_ones_are_refused(
    data_root: Path, tmp_path: Path, ends: list[int]
):
    asked = plan(train__sides=ends)
    with pytest.raises(UsageError, match="128 is more than the 96 pixels of the stored"):
        loop.fit(asked, tmp_path / "run", device=choose("cpu", "float32"), root=data_root)
    assert not list(tmp_path.glob("run/*"))
