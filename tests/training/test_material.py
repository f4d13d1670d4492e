"""What a run is told of the pictures that it was given, before it is trained on them."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet
from alexnet import recipe as recipes
from alexnet.run.log import Console
from alexnet.run.ranks import ALONE
from alexnet.training import material

AUTO = {f"data.{role}": "auto" for role in ("train", "validation", "test")}


def gathered(name: str, root, **changes: object) -> material.Material:
    plan = recipes.override(recipes.load("photos"), {**AUTO, "data.name": name, **changes})
    return material.gather(plan, root, Console(), ALONE, None)


@pytest.mark.parametrize(("sizes", "untested"), [((40, 40, 2), "rare"), ((40, 40, 20), "")])
def test_classes_that_a_cut_leaves_nothing_of_for_the_test_are_named(
    tmp_path, capsys, sizes, untested
):
    labels = np.repeat(np.arange(3), sizes)
    drawn = np.random.default_rng(0).integers(0, 256, (len(labels), 112, 112, 3), np.uint8)
    classes = ["cat", "dog", "rare"]
    name = alexnet.keep_arrays(tmp_path / "own", classes=classes, train=(drawn, labels))
    found = gathered(name, tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "no test picture" in line]
    assert set(range(3)) - set(found.parts["test"].targets.tolist()) == ({2} if untested else set())
    expected = f"no test picture of: {untested}; how well these are told is not known"
    assert told == ([expected] if untested else [])
