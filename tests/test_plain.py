"""A recipe without pydantic: the same keys, values and words as with it."""

from __future__ import annotations

import pytest
import tomli_w

from alexnet import built_in, plain
from alexnet import recipe as recipes


@pytest.mark.parametrize("name", recipes.names())
def test_a_packaged_recipe_is_what_the_checked_one_is(name):
    """To the letter: a key that is written ``1`` and read as ``1.0`` is to be written ``1.0``."""
    assert tomli_w.dumps(built_in.tree(name)) == recipes.to_toml(recipes.load(name))


def test_every_default_is_the_schemas():
    little = {"name": "mine", "summary": "nothing of its own"}
    assert plain.complete(little) == recipes.to_tree(recipes.check(little))


def test_two_trees_differ_in_keys_that_one_lacks_too():
    assert plain.differing({"b": 1, "a": 1, "c": 2}, {"a": 2, "b": 1}) == ["a", "c"]
    assert plain.differing({"a": None}, {}) == []


def test_sections_within_sections_are_completed():
    keys = {
        "optim": {"group": [{"match": "*.bias", "drops": ["2 epochs"]}, {"match": "conv*"}]},
        "published": {"source": "a page", "protocol": "theirs", "test_accuracy": 0.5},
        "fault": [{"published": "it errs", "corrected": "it does not"}],
    }
    tree = {"name": "mine", "summary": "", **keys}
    found = plain.complete(tree)
    assert found == recipes.to_tree(recipes.check(tree))
    assert found["optim"]["group"][1]["lr_factor"] == 1.0
    assert "group" in keys["optim"]
    assert "lr" not in keys["optim"], "what was given stays as it was"
