"""A recipe in words: its keys and the faults that it corrects. A packaged one needs no pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from alexnet import built_in
from alexnet.reporting.published import faults_text


def tree(name: str) -> dict[str, Any]:
    """Return the plain values of a recipe, by its name or from a path ending in ``.toml``.

    A packaged one is taken as it is, since the tests have checked it; a file of a person's own is
    checked. Raises ``UnknownName`` or ``RecipeError``.
    """
    if name in built_in.names():
        return built_in.tree(name)
    from alexnet import recipe as recipes  # with pydantic, which checks

    return recipes.to_tree(recipes.load(name))


def text(recipe: Mapping[str, Any]) -> str:
    """Write a recipe: what it is, its keys as TOML, what was published, and the faults of that.

    ``recipe``: its plain values, complete (``tree``).
    """
    keys = tomli_w.dumps({key: value for key, value in recipe.items() if key != "fault"})
    parts = [f"{recipe['name']}: {recipe['summary']}", keys.strip(), faults_text(recipe)]
    return "\n\n".join(filter(None, parts))
