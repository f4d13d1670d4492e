"""The recipes that come with the package, as text: what can be said of them without checking them.

``alexnet.recipe`` reads and checks them, which takes pydantic; names and summaries do not.
"""

from __future__ import annotations

import tomllib
from importlib import resources


def names() -> list[str]:
    """Return the names of the recipes, sorted."""
    found = (file.name for file in _folder().iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def text(name: str) -> str:
    """Return a recipe's TOML text."""
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8")


def summaries() -> dict[str, str]:
    """Return each recipe's line about itself, by name."""
    return {name: str(tomllib.loads(text(name))["summary"]) for name in names()}


def _folder() -> resources.abc.Traversable:
    return resources.files("alexnet") / "recipes"
